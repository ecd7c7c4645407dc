-- stored --
-- Which of these hashes are known.
SELECT id, hash, depth, body IS NOT NULL AS has_body FROM configuration_contents WHERE hash = ANY($1::bytea[])

-- allocate --
-- Numbers for contents that are to be inserted.
SELECT array_agg(nextval(pg_get_serial_sequence('configuration_contents', 'id'))::integer)
FROM generate_series(1, $1::integer)

-- chains --
-- Contents by hash and all that they are compressed against.
WITH RECURSIVE chain AS (
    SELECT id, hash, base, key, size_bytes, body FROM configuration_contents
    WHERE hash = ANY($1::bytea[]) AND body IS NOT NULL
    UNION
    SELECT content.id, content.hash, content.base, content.key, content.size_bytes, content.body
    FROM chain JOIN configuration_contents AS content ON content.id = chain.base
)
SELECT id, hash, base, key, size_bytes, body FROM chain
