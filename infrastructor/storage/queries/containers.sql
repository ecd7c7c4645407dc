-- states --
-- The last kept state of each container of a device.
SELECT name, state FROM containers WHERE device_id = $1 AND gone_at IS NULL AND state IS NOT NULL ORDER BY name

-- keep --
-- Keep changed states of a device: the dimension's last one and a row of history, both or neither.
WITH item AS (
    SELECT * FROM jsonb_to_recordset($3) AS item (
        id UUID, name TEXT, state TEXT, health TEXT, restart_count INTEGER, exit_code INTEGER, oom_killed BOOLEAN,
        data JSONB
    )
), container AS (
    INSERT INTO containers (device_id, name, state, seen_at, gone_at)
    SELECT $1, name, data, $2::timestamptz, CASE WHEN state = 'removed' THEN $2::timestamptz END FROM item
    ON CONFLICT (device_id, name) DO UPDATE
        SET state = EXCLUDED.state, seen_at = EXCLUDED.seen_at, gone_at = EXCLUDED.gone_at
    RETURNING id, name
)
INSERT INTO container_snapshots (
    id, device_id, snapshot_time, container_data, container, name, state, health, restart_count, exit_code, oom_killed
)
SELECT item.id, $1, $2, item.data, container.id, item.name, item.state, item.health, item.restart_count,
       item.exit_code, item.oom_killed
FROM item JOIN container USING (name)

-- known --
-- The numbers of containers.
SELECT id, device_id, name FROM containers WHERE device_id = ANY($1::uuid[])

-- introduce --
-- Number containers that are new; those of devices that are gone get none.
INSERT INTO containers (device_id, name, seen_at)
SELECT item.device_id, item.name, now()
FROM unnest($1::uuid[], $2::text[]) AS item (device_id, name) JOIN devices ON devices.id = item.device_id
ON CONFLICT DO NOTHING

-- series --
-- Samples of one container in buckets of $4.
SELECT date_bin($4, ts, $2) AS start, count(*) AS samples,
       min(cpu_percent) AS cpu_percent_min, avg(cpu_percent) AS cpu_percent_avg, max(cpu_percent) AS cpu_percent_max,
       min(memory_bytes)::bigint AS memory_bytes_min, avg(memory_bytes)::bigint AS memory_bytes_avg,
       max(memory_bytes)::bigint AS memory_bytes_max, sum(rx_bytes::float8)::bigint AS rx_bytes,
       sum(tx_bytes::float8)::bigint AS tx_bytes, sum(read_bytes::float8)::bigint AS read_bytes,
       sum(written_bytes::float8)::bigint AS written_bytes, max(pids) AS pids_max
FROM container_samples WHERE container = $1 AND ts >= $2 AND ts < $3 GROUP BY 1 ORDER BY 1

-- hours --
-- The same from the hourly rows.
SELECT date_bin($4, hour, $2) AS start, sum(samples) AS samples, NULL::real AS cpu_percent_min,
       sum(cpu_percent_avg * samples) / sum(samples) AS cpu_percent_avg, max(cpu_percent_max) AS cpu_percent_max,
       NULL::bigint AS memory_bytes_min, (sum(memory_bytes_avg * samples) / sum(samples))::bigint AS memory_bytes_avg,
       max(memory_bytes_max)::bigint AS memory_bytes_max, sum(rx_bytes)::bigint AS rx_bytes, sum(tx_bytes)::bigint AS tx_bytes,
       sum(read_bytes)::bigint AS read_bytes, sum(written_bytes)::bigint AS written_bytes, NULL::integer AS pids_max
FROM container_samples_hourly WHERE container = $1 AND hour >= $2 AND hour < $3 GROUP BY 1 ORDER BY 1

-- first --
-- When the samples of a container begin.
SELECT min(ts) FROM container_samples WHERE container = $1 AND ts >= $2 AND ts < $3

-- number --
-- The number of one container.
SELECT id FROM containers WHERE device_id = $1 AND name = $2

-- changes --
-- The newest states in a time.
SELECT snapshot_time AS at, container_data AS state FROM container_snapshots
WHERE container = $1 AND snapshot_time >= $2 AND snapshot_time < $3 ORDER BY snapshot_time DESC LIMIT $4

-- before --
-- The state a time began with.
SELECT snapshot_time AS at, container_data AS state FROM container_snapshots
WHERE container = $1 AND snapshot_time < $2 ORDER BY snapshot_time DESC LIMIT 1

-- roll_up --
-- Make the hourly rows of whole hours up to $1 that have none yet.
WITH span AS (
    SELECT COALESCE((SELECT max(hour) + interval '1 hour' FROM container_samples_hourly),
                    (SELECT min(ts) FROM container_samples)) AS start,
           date_trunc('hour', $1::timestamptz) AS stop
)
INSERT INTO container_samples_hourly (
    hour, memory_bytes_avg, memory_bytes_max, rx_bytes, tx_bytes, read_bytes, written_bytes, container,
    cpu_percent_avg, cpu_percent_max, samples
)
SELECT date_trunc('hour', ts), avg(memory_bytes), max(memory_bytes), sum(rx_bytes::float8), sum(tx_bytes::float8),
       sum(read_bytes::float8), sum(written_bytes::float8), container, avg(cpu_percent), max(cpu_percent), count(*)
FROM container_samples, span WHERE ts >= span.start AND ts < span.stop GROUP BY date_trunc('hour', ts), container
ON CONFLICT DO NOTHING

-- forget --
-- Containers of which nothing is left.
DELETE FROM containers WHERE gone_at < $1
