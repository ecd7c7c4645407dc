-- watches --
-- What is to be watched.
SELECT device_id, path, source, recursive, include, exclude FROM configuration_watches
WHERE $1::uuid IS NULL OR device_id = $1 ORDER BY device_id, path, source

-- add --
-- Watch something, or change how; true when it is new, no row when the device is not there.
INSERT INTO configuration_watches AS watch (device_id, path_key, source, path, recursive, include, exclude)
SELECT id, $2, $3, $4, $5, $6, $7 FROM devices WHERE id = $1
ON CONFLICT (device_id, path_key, source) DO UPDATE
    SET recursive = EXCLUDED.recursive, include = EXCLUDED.include, exclude = EXCLUDED.exclude
RETURNING xmax = 0

-- remove --
-- Watch it no longer.
DELETE FROM configuration_watches WHERE device_id = $1 AND path_key = $2 AND source = $3
