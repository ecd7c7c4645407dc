-- write --
-- Intents and outcomes, as often as you like: an outcome closes an intent, nothing reopens or doubles a record.
INSERT INTO data_collection_audit AS kept (
    operation_id, started_at, writer_id, parent_id, operation, effect, principal, role, interface, client,
    device_id, device, params, commands, plan_id, cache, outcome, error_code, error_message, retries, duration_ms,
    details
)
SELECT
    operation_id, started_at, writer_id, parent_id, operation, effect, principal, role, interface, client,
    device_id, device, params, commands, plan_id, cache, outcome, error_code, error_message, retries, duration_ms,
    details
FROM jsonb_to_recordset($1::text::jsonb) AS record (
    operation_id UUID, started_at TIMESTAMPTZ, writer_id UUID, parent_id UUID, operation TEXT, effect TEXT,
    principal TEXT, role TEXT, interface TEXT, client TEXT, device_id UUID, device TEXT, params JSONB,
    commands TEXT[], plan_id UUID, cache TEXT, outcome TEXT, error_code TEXT, error_message TEXT, retries INTEGER,
    duration_ms DOUBLE PRECISION, details JSONB
)
ON CONFLICT (operation_id, started_at) DO UPDATE SET
    device_id = excluded.device_id, device = excluded.device, params = excluded.params,
    commands = excluded.commands, plan_id = excluded.plan_id, cache = excluded.cache, outcome = excluded.outcome,
    error_code = excluded.error_code, error_message = excluded.error_message, retries = excluded.retries,
    duration_ms = excluded.duration_ms, details = excluded.details, written_at = now()
WHERE kept.outcome = 'started' AND excluded.outcome <> 'started'

-- find --
-- One record. Its id says when it began (give or take a clock set back), which names the partition.
SELECT * FROM data_collection_audit
WHERE operation_id = $1 AND started_at BETWEEN $2::timestamptz - interval '1 hour' AND $2::timestamptz + interval '1 hour'

-- around --
-- Runs on a device that began in a time, newest first.
SELECT * FROM data_collection_audit
WHERE device_id = $1 AND started_at >= $2 AND started_at < $3 AND ($4 OR effect <> 'read')
ORDER BY started_at DESC LIMIT $5

-- seen --
-- Say that this writer lives.
INSERT INTO audit_writers (id, spool_id, host, pid) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET seen_at = now()

-- neighbours --
-- Writers that share our spool directory; whether they live, their lock files tell.
SELECT id FROM audit_writers WHERE spool_id = $1 AND id <> $2

-- strangers --
-- Writers elsewhere that were silent for so long while PostgreSQL was up to hear them.
SELECT id FROM audit_writers
WHERE spool_id <> $1 AND seen_at < now() - $2::interval AND pg_postmaster_start_time() < now() - $2::interval

-- unclaimed --
-- Writers of open records that nobody has heard of, after a restore for example.
SELECT DISTINCT writer_id AS id FROM data_collection_audit
WHERE outcome = 'started' AND started_at < now() - $1::interval
  AND writer_id NOT IN (SELECT id FROM audit_writers)

-- abandon --
-- The writers are gone: what they left open stays in doubt.
UPDATE data_collection_audit SET
    outcome = 'unknown', error_code = 'outcome_unknown', written_at = now(),
    error_message = 'The process that ran this ended before the outcome was known.'
WHERE outcome = 'started' AND writer_id = ANY($1::uuid[])

-- forget --
-- Their names are needed no more.
DELETE FROM audit_writers WHERE id = ANY($1::uuid[])
