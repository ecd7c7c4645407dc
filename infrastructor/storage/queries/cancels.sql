-- ask --
-- The trigger tells every process that listens.
INSERT INTO cancel_requests (operation_id, requested_by) VALUES ($1, $2) ON CONFLICT (operation_id) DO NOTHING

-- asked --
-- Those of our runs that somebody wants stopped.
SELECT operation_id, requested_by FROM cancel_requests WHERE operation_id = ANY($1::uuid[])

-- forget --
-- Runs have deadlines far below a day.
DELETE FROM cancel_requests WHERE requested_at < now() - interval '1 day'
