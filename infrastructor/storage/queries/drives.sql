-- add --
-- Samples of one device; two collectors that store the same moment store it once.
INSERT INTO drive_samples (device_id, drive, sampled_at, counters)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::jsonb[])
ON CONFLICT DO NOTHING

-- history --
-- The samples of a device since a time and, of each drive, the last one before; the newest 5000, oldest first.
SELECT * FROM (
    (SELECT device_id, drive, sampled_at, counters FROM drive_samples WHERE device_id = $1 AND sampled_at >= $2)
    UNION ALL
    (SELECT DISTINCT ON (drive) device_id, drive, sampled_at, counters
     FROM drive_samples WHERE device_id = $1 AND sampled_at < $2 ORDER BY drive, sampled_at DESC)
    ORDER BY sampled_at DESC LIMIT 5000
) AS newest ORDER BY sampled_at

-- forget --
-- What is past its time; of each drive the newest such row stays, for it says what the counters were since.
DELETE FROM drive_samples AS old WHERE sampled_at < $1 AND EXISTS (
    SELECT FROM drive_samples AS later
    WHERE later.device_id = old.device_id AND later.drive = old.drive
      AND later.sampled_at > old.sampled_at AND later.sampled_at < $1
)

-- accept --
INSERT INTO drive_baselines (device_id, drive, counters, accepted_at, accepted_by) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (device_id, drive) DO UPDATE
SET counters = excluded.counters, accepted_at = excluded.accepted_at, accepted_by = excluded.accepted_by

-- baselines --
SELECT device_id, drive, counters, accepted_at, accepted_by FROM drive_baselines WHERE device_id = $1
