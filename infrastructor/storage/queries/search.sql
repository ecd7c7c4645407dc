-- literal --
-- Not a statement: lines that contain a text.
{text} ILIKE $1

-- pattern --
-- Not a statement: texts and lines in which a regular expression is found; it sees one line at a time.
{text} ~* ('(?n)' || $1)

-- pieces --
-- Not a statement: texts that have all the pieces, found by the index.
candidate AS MATERIALIZED (SELECT file FROM configuration_texts WHERE grams @> $6::smallint[]),

-- among --
-- Not a statement: of those only.
JOIN candidate ON candidate.file = masked.file

-- current --
-- Lines of the newest versions.
WITH {pieces} matching AS (
    SELECT file.id, file.device_id, file.path, file.head_time, masked.text
    FROM configuration_texts AS masked JOIN configuration_files AS file ON file.id = masked.file
    {among} WHERE {match_text} AND ($2::uuid[] IS NULL OR file.device_id = ANY($2))
      AND ($3::text IS NULL OR $3 = '/' OR file.path = rtrim($3, '/') OR starts_with(file.path, rtrim($3, '/') || '/'))
    LIMIT $4
), hit AS (
    SELECT matching.id, matching.head_time, line.number, line.text FROM matching CROSS JOIN LATERAL (
        SELECT found.number, found.text
        FROM string_to_table(matching.text, E'\n') WITH ORDINALITY AS found (text, number)
        WHERE {match_line} LIMIT $4
    ) AS line LIMIT $4
)
SELECT {snapshot}, hit.number AS line_number, left(hit.text, $5) AS line
FROM hit JOIN configuration_files AS file ON file.id = hit.id
JOIN configuration_versions AS version ON version.file = file.id AND version.time = hit.head_time
LEFT JOIN configuration_contents AS content ON content.id = version.content

-- files --
-- Files after $1 that ever had content, with the newest version of each content.
SELECT {snapshot} FROM (
    SELECT one.id, one.device_id, one.path FROM configuration_files AS one
    WHERE one.id > $1 AND ($2::uuid[] IS NULL OR one.device_id = ANY($2))
      AND ($3::text IS NULL OR $3 = '/' OR one.path = rtrim($3, '/') OR starts_with(one.path, rtrim($3, '/') || '/'))
    ORDER BY one.id LIMIT $4
) AS file
JOIN LATERAL (
    SELECT DISTINCT ON (one.content) one.* FROM configuration_versions AS one
    WHERE one.file = file.id AND one.holding = 'c' ORDER BY one.content, one.time DESC
) AS version ON true
JOIN configuration_contents AS content ON content.id = version.content
ORDER BY file.id, version.time DESC

-- next_files --
-- The last of the files after $1 that one turn takes, and how many they are.
SELECT max(id) AS last, count(*) AS files FROM (
    SELECT one.id FROM configuration_files AS one
    WHERE one.id > $1 AND ($2::uuid[] IS NULL OR one.device_id = ANY($2))
      AND ($3::text IS NULL OR $3 = '/' OR one.path = rtrim($3, '/') OR starts_with(one.path, rtrim($3, '/') || '/'))
    ORDER BY one.id LIMIT $4
) AS file

-- lines --
-- Which of these lines match a regular expression.
SELECT found.number FROM unnest($2::text[]) WITH ORDINALITY AS found (text, number) WHERE found.text ~* ('(?n)' || $1)

-- valid --
-- Fails for what is no regular expression.
SELECT '' ~* ('(?n)' || $1)
