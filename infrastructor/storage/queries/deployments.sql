-- begin --
-- Nothing comes back when another one of the same stack is unfinished.
INSERT INTO deployments (operation_id, device_id, stack, folder, before, step, started_at, touched_at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, now())
ON CONFLICT DO NOTHING
RETURNING operation_id

-- in_the_way --
SELECT operation_id, device_id, stack, folder, before, step, started_at, touched_at, finished_at, outcome, message
FROM deployments WHERE device_id = $1 AND stack = $2 AND finished_at IS NULL

-- touch --
UPDATE deployments SET touched_at = now(), step = $2 WHERE operation_id = $1 AND finished_at IS NULL

-- finish --
-- The first end that is written down stands.
UPDATE deployments SET finished_at = now(), outcome = $2, message = $3
WHERE operation_id = $1 AND finished_at IS NULL

-- unfinished --
SELECT operation_id, device_id, stack, folder, before, step, started_at, touched_at, finished_at, outcome, message
FROM deployments WHERE finished_at IS NULL AND ($1::uuid IS NULL OR device_id = $1)
ORDER BY started_at LIMIT 1000

-- last --
SELECT operation_id, device_id, stack, folder, before, step, started_at, touched_at, finished_at, outcome, message
FROM deployments WHERE device_id = $1 AND stack = $2
ORDER BY started_at DESC LIMIT 1
