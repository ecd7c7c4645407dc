-- all --
-- Every device, in the order people list them.
SELECT * FROM devices ORDER BY hostname

-- find --
-- One device by the name callers use.
SELECT * FROM devices WHERE hostname = $1

-- add --
-- Register a device; a taken hostname violates devices_hostname_key.
INSERT INTO devices (
    id, hostname, device_type, description, location, transport, address, ssh_port, ssh_username,
    ssh_private_key_path, jump, host_keys, monitoring_enabled, tags, created_at, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)

-- update --
-- Replace all of a device but its id and the time it was registered.
UPDATE devices SET
    hostname = $2, device_type = $3, description = $4, location = $5, transport = $6, address = $7,
    ssh_port = $8, ssh_username = $9, ssh_private_key_path = $10, jump = $11, host_keys = $12,
    monitoring_enabled = $13, tags = $14, updated_at = $15
WHERE id = $1

-- remove --
-- Forget a device; its samples go with it, its audit records stay.
DELETE FROM devices WHERE id = $1
