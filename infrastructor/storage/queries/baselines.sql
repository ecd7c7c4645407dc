-- all --
-- Baselines of a device, or of all, by device and path.
SELECT device_id, path, time, pinned_by, pinned_at, note FROM config_baselines
WHERE $1::uuid IS NULL OR device_id = $1 ORDER BY device_id, path

-- pin --
-- Declare; true when there was none for this path.
INSERT INTO config_baselines AS kept (device_id, path, time, pinned_by, pinned_at, note)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (device_id, md5(path)) DO UPDATE SET
    time = excluded.time, pinned_by = excluded.pinned_by, pinned_at = excluded.pinned_at, note = excluded.note
RETURNING xmax = 0

-- unpin --
DELETE FROM config_baselines WHERE device_id = $1 AND md5(path) = md5($2) AND path = $2
