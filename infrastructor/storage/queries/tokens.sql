-- create --
-- A new token; an unrevoked one of the same name violates idx_api_tokens_name.
INSERT INTO api_tokens (id, name, role, secret_hash, expires_at) VALUES ($1, $2, $3, $4, $5)
RETURNING id, name, role, created_at, expires_at, last_used_at, revoked_at

-- release_name --
-- An expired token does not hold its name.
UPDATE api_tokens SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL AND expires_at <= now()

-- find --
-- The valid token with this hash.
SELECT id, name, role, created_at, expires_at, last_used_at, revoked_at FROM api_tokens
WHERE secret_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- all --
-- Every token ever made, newest first; never its hash.
SELECT id, name, role, created_at, expires_at, last_used_at, revoked_at FROM api_tokens ORDER BY created_at DESC, id DESC

-- revoke --
-- From now on the token is unknown.
UPDATE api_tokens SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL

-- valid --
-- The token with this id, while it is valid.
SELECT id, name, role, created_at, expires_at, last_used_at, revoked_at FROM api_tokens
WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- add_ticket --
-- A new ticket; those that nobody came with in time go.
WITH late AS (DELETE FROM tickets WHERE expires_at <= now())
INSERT INTO tickets (ticket_hash, token_id, expires_at) VALUES ($1, $2, $3)

-- take_ticket --
-- The valid token behind a ticket, once.
WITH taken AS (DELETE FROM tickets WHERE ticket_hash = $1 RETURNING token_id, expires_at)
SELECT id, name, role, created_at, api_tokens.expires_at, last_used_at, revoked_at
FROM taken JOIN api_tokens ON api_tokens.id = taken.token_id
WHERE taken.expires_at > now() AND revoked_at IS NULL
  AND (api_tokens.expires_at IS NULL OR api_tokens.expires_at > now())

-- touch --
-- When tokens were last used, many at once.
UPDATE api_tokens SET last_used_at = used.at
FROM unnest($1::uuid[], $2::timestamptz[]) AS used (id, at)
WHERE api_tokens.id = used.id AND (last_used_at IS NULL OR last_used_at < used.at)
