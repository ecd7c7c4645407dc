-- mark --
-- Contents that no version has and nothing that is needed is compressed against.
WITH RECURSIVE needed AS (
    SELECT content AS id FROM configuration_versions WHERE content IS NOT NULL
    UNION
    SELECT content.base FROM needed JOIN configuration_contents AS content USING (id) WHERE content.base IS NOT NULL
)
UPDATE configuration_contents AS content SET doomed_at = now()
WHERE doomed_at IS NULL AND NOT EXISTS (SELECT 1 FROM needed WHERE needed.id = content.id)

-- delete --
-- Marked ones that are still unused; nothing that another one, marked or not, still stands on.
WITH RECURSIVE needed AS (
    SELECT content AS id FROM configuration_versions WHERE content IS NOT NULL
    UNION
    SELECT id FROM configuration_contents WHERE doomed_at IS NULL OR doomed_at > now() - $1::interval
    UNION
    SELECT content.base FROM needed JOIN configuration_contents AS content USING (id) WHERE content.base IS NOT NULL
)
DELETE FROM configuration_contents AS content
WHERE doomed_at <= now() - $1::interval AND NOT EXISTS (SELECT 1 FROM needed WHERE needed.id = content.id)

-- due --
-- Whether anything was marked so long ago.
SELECT EXISTS (SELECT 1 FROM configuration_contents WHERE doomed_at <= now() - $1::interval)

-- asked --
-- The newest request.
SELECT max(id) FROM configuration_sweeps

-- done --
-- Requests that were met.
DELETE FROM configuration_sweeps WHERE id <= $1
