-- expect --
-- Before it is written. What has expired goes with the next one.
WITH expired AS (DELETE FROM config_expected_writes WHERE expires_at < now())
INSERT INTO config_expected_writes AS kept (device_id, path_key, content_hash, operation_id, expires_at)
VALUES ($1, $2, $3, $4, now() + interval '10 minutes')
ON CONFLICT (device_id, path_key, content_hash) DO UPDATE SET
    operation_id = excluded.operation_id, expires_at = excluded.expires_at

-- claimed --
-- Which of these contents of these files an operation said it would write.
SELECT path_key, content_hash, operation_id FROM config_expected_writes
WHERE device_id = $1 AND path_key = ANY($2::uuid[]) AND expires_at >= now()
