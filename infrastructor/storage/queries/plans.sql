-- save --
-- Keep a plan until it is taken or expires.
INSERT INTO plans (id, token_hash, operation, principal, device_id, params_hash, fingerprint, body, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- take --
-- Mark used and return, in one statement: of two callers exactly one gets it.
UPDATE plans SET used_at = now()
WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now()
RETURNING id, token_hash, operation, principal, device_id, params_hash, fingerprint, body, expires_at

-- forget --
-- Drop plans that nobody can take any more; the audit record keeps what was done.
DELETE FROM plans WHERE expires_at < now() - interval '1 day'
