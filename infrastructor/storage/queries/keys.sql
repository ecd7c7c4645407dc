-- keys --
-- What is known of each key.
SELECT id, fingerprint FROM configuration_keys ORDER BY id

-- announce --
-- Let a key be the newest; the first server to say so is right.
INSERT INTO configuration_keys (id, fingerprint) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- any_sealed --
-- Whether anything was ever sealed.
SELECT EXISTS (SELECT 1 FROM configuration_contents WHERE key IS NOT NULL)

-- left --
-- How many contents each key has sealed.
SELECT key, count(*) AS contents FROM configuration_contents WHERE key IS NOT NULL GROUP BY key ORDER BY key

-- sealed_before --
-- Contents after $1 that an older key than $2 sealed.
SELECT id, hash, key, body FROM configuration_contents WHERE id > $1 AND key < $2 ORDER BY id LIMIT $3

-- reseal --
-- Put newly sealed bodies in the place of those they were made from.
UPDATE configuration_contents AS content SET key = $1, body = item.body
FROM unnest($2::integer[], $3::smallint[], $4::bytea[]) AS item (id, key, body)
WHERE content.id = item.id AND content.key = item.key
