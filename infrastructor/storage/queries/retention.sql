-- partitions --
-- The partitions of a table by name; the name ends with the first day.
SELECT child.relname::text AS name
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = to_regclass($1)
ORDER BY name

-- create --
-- Make a partition for a span of days; false when it is there already.
SELECT infrastructor_create_partition($1, $2, $3)

-- stray_metrics --
-- Rows that came when no partition was ready for them.
DELETE FROM system_metrics_default WHERE timestamp < $1

-- stray_audit --
-- Whether the default partition of the audit holds only rows that are past their time.
SELECT count(*) > 0 AND max(started_at) < $1 FROM data_collection_audit_default

-- stray_events --
-- The same for events,
DELETE FROM events_default WHERE recorded_at < $1

-- stray_snapshots --
-- for states of containers,
DELETE FROM container_snapshots_default WHERE snapshot_time < $1

-- stray_samples --
-- for their samples
DELETE FROM container_samples_default WHERE ts < $1

-- stray_hours --
-- and for what is left of those.
DELETE FROM container_samples_hourly_default WHERE hour < $1
