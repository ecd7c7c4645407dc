-- save --
-- Keep a plan until it is taken or expires.
INSERT INTO plans (
    id, token_hash, operation, principal, device_id, params_hash, fingerprint, body, expires_at, needs_approval
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- take --
-- Mark used and return, in one statement: of two callers exactly one gets it.
UPDATE plans SET used_at = now()
WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now() AND (approved_at IS NOT NULL OR NOT needs_approval)
RETURNING id, token_hash, operation, principal, device_id, params_hash, fingerprint, body, expires_at,
    needs_approval, approved_by, used_at

-- find --
-- Why a plan could not be taken.
SELECT id, token_hash, operation, principal, device_id, params_hash, fingerprint, body, expires_at,
    needs_approval, approved_by, used_at
FROM plans WHERE token_hash = $1

-- waiting --
-- What can still be carried out.
SELECT id, token_hash, operation, principal, device_id, params_hash, fingerprint, body, expires_at,
    needs_approval, approved_by, used_at
FROM plans WHERE used_at IS NULL AND expires_at > now()
ORDER BY created_at, id LIMIT 1000

-- approve --
-- Once, and only while it waits.
UPDATE plans SET approved_by = $2, approved_at = now()
WHERE id = $1 AND needs_approval AND approved_at IS NULL AND used_at IS NULL AND expires_at > now()

-- withdraw --
-- Use it up without carrying it out.
UPDATE plans SET used_at = now() WHERE id = $1 AND used_at IS NULL AND expires_at > now()

-- forget --
-- Drop plans that nobody can take any more; the audit record keeps what was done.
DELETE FROM plans WHERE expires_at < now() - interval '1 day'
