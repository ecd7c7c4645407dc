-- snapshot --
-- Not a statement: the columns of a version, for the others.
version.id, file.device_id, file.path, version.time, version.change::text, version.config_type,
version.holding::text, content.hash, content.size_bytes, version.mode, version.uid, version.gid, version.mtime_ns,
version.target, version.reason, version.classes, version.operation_id

-- heads --
-- The newest version of each file that is there.
SELECT file.path, file.inode, file.size_bytes, file.mtime_ns, file.ctime_ns, file.mode, file.uid, file.gid,
       version.holding::text, content.hash, version.id
FROM configuration_files AS file
JOIN configuration_versions AS version ON version.file = file.id AND version.time = file.head_time
LEFT JOIN configuration_contents AS content ON content.id = version.content
WHERE file.device_id = $1 AND NOT file.gone ORDER BY file.path

-- known --
-- The newest version of these files.
SELECT file.path_key, file.head_id, file.head_time, file.config_type, file.gone, file.inode, file.size_bytes,
       file.mtime_ns, file.ctime_ns, file.mode, file.uid, file.gid, version.holding::text, version.mode AS version_mode,
       version.uid AS version_uid, version.gid AS version_gid, version.target, version.reason, content.hash
FROM configuration_files AS file
JOIN configuration_versions AS version ON version.file = file.id AND version.time = file.head_time
LEFT JOIN configuration_contents AS content ON content.id = version.content
WHERE file.device_id = $1 AND file.path_key = ANY($2::uuid[])

-- stored --
-- Which of these versions there are.
SELECT id FROM configuration_versions WHERE id = ANY($1::uuid[])

-- states_at --
-- What files were at a time each.
SELECT item.path_key, item.time, version.change::text, version.holding::text, version.mode AS version_mode,
       version.uid AS version_uid, version.gid AS version_gid, version.target, version.reason, content.hash
FROM unnest($2::uuid[], $3::timestamptz[]) AS item (path_key, time)
JOIN configuration_files AS file ON file.device_id = $1 AND file.path_key = item.path_key
CROSS JOIN LATERAL (
    SELECT * FROM configuration_versions AS one WHERE one.file = file.id AND one.time <= item.time
    ORDER BY one.time DESC LIMIT 1
) AS version
LEFT JOIN configuration_contents AS content ON content.id = version.content

-- keep --
-- Keep versions with all that belongs to them; false when the device is not there.
SELECT infrastructor_keep_versions($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- at --
-- The newest version of a file at a time.
SELECT {snapshot} FROM configuration_files AS file
JOIN configuration_versions AS version ON version.file = file.id
LEFT JOIN configuration_contents AS content ON content.id = version.content
WHERE file.device_id = $1 AND file.path_key = $2 AND version.time <= $3 ORDER BY version.time DESC LIMIT 1

-- tree --
-- Every file of some devices, or of all, that was there at a time.
SELECT {snapshot} FROM configuration_files AS file
CROSS JOIN LATERAL (
    SELECT * FROM configuration_versions AS one WHERE one.file = file.id AND one.time <= $2
    ORDER BY one.time DESC LIMIT 1
) AS version
LEFT JOIN configuration_contents AS content ON content.id = version.content
WHERE ($1::uuid[] IS NULL OR file.device_id = ANY($1))
  AND ($3 = '/' OR file.path = rtrim($3, '/') OR starts_with(file.path, rtrim($3, '/') || '/'))
  AND version.change <> 'd'

-- watched_devices --
-- Devices that files are known of.
SELECT DISTINCT device_id FROM configuration_files

-- find --
-- One version by its id.
SELECT {snapshot} FROM configuration_versions AS version
JOIN configuration_files AS file ON file.id = version.file
LEFT JOIN configuration_contents AS content ON content.id = version.content
WHERE version.id = $1

-- history_of_files --
-- Versions of the files of a device, newest first: each file gives its newest ones. What is new or gone is about
-- `other`, whose bit is 2048.
SELECT {snapshot} FROM configuration_files AS file
CROSS JOIN LATERAL (
    SELECT * FROM configuration_versions AS one
    WHERE one.file = file.id AND ($4::timestamptz IS NULL OR one.time >= $4)
      AND ($5::timestamptz IS NULL OR one.time < $5)
      AND ($6::timestamptz IS NULL OR one.time <= $6 AND (one.time, one.id) < ($6, $7::uuid))
      AND ($9::integer IS NULL OR COALESCE(CASE one.change WHEN 'm' THEN one.classes ELSE 2048 END & $9 <> 0, true))
    ORDER BY one.time DESC LIMIT $8
) AS version
LEFT JOIN configuration_contents AS content ON content.id = version.content
WHERE file.device_id = $1 AND ($2::uuid IS NULL OR file.path_key = $2)
  AND ($3::text IS NULL OR $3 = '/' OR file.path = rtrim($3, '/') OR starts_with(file.path, rtrim($3, '/') || '/'))
ORDER BY version.time DESC, version.id DESC LIMIT $8

-- history_of_all --
-- Versions of all devices, newest first; about what as above.
SELECT {snapshot} FROM configuration_versions AS version
JOIN configuration_files AS file ON file.id = version.file
LEFT JOIN configuration_contents AS content ON content.id = version.content
WHERE ($1::uuid IS NULL OR file.path_key = $1)
  AND ($2::text IS NULL OR $2 = '/' OR file.path = rtrim($2, '/') OR starts_with(file.path, rtrim($2, '/') || '/'))
  AND version.time >= COALESCE($3::timestamptz, '-infinity') AND version.time < COALESCE($4::timestamptz, 'infinity')
  AND version.time <= COALESCE($5::timestamptz, 'infinity')
  AND ($5::timestamptz IS NULL OR (version.time, version.id) < ($5, $6::uuid))
  AND ($8::integer IS NULL OR COALESCE(CASE version.change WHEN 'm' THEN version.classes ELSE 2048 END & $8 <> 0, true))
ORDER BY version.time DESC, version.id DESC LIMIT $7

-- time_of --
-- When a version was.
SELECT time FROM configuration_versions WHERE id = $1

-- add_blind --
-- Keep a span in which nobody watched, and tell of it; an empty one only marks a time.
WITH device AS (
    SELECT id, hostname FROM devices WHERE id = $1
), kept AS (
    INSERT INTO configuration_blind_times (device_id, begin_at, end_at, reason)
    SELECT id, $2, $3, $4 FROM device ON CONFLICT DO NOTHING RETURNING begin_at, end_at
)
SELECT infrastructor_publish_events(
    jsonb_build_array($5::jsonb || jsonb_build_object('device_id', device.id, 'device', device.hostname))
) FROM device CROSS JOIN kept WHERE kept.begin_at < kept.end_at

-- blind --
-- Spans that touch a time.
SELECT begin_at AS begin, end_at AS end, reason FROM configuration_blind_times
WHERE device_id = $1 AND begin_at < $3 AND end_at > $2 ORDER BY begin_at, end_at
