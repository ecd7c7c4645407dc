-- history --
-- The newest samples of a device since a time, oldest first.
SELECT * FROM (
    SELECT device_id, timestamp, cpu_usage_percent, memory_usage_percent, disk_usage_percent, load_average_1m,
           uptime_seconds, metadata
    FROM system_metrics WHERE device_id = $1 AND timestamp >= $2
    ORDER BY timestamp DESC LIMIT $3
) AS newest ORDER BY timestamp

-- registered --
-- Which of these devices still exist.
SELECT id FROM devices WHERE id = ANY($1::uuid[])
