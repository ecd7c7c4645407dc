-- publish --
-- Store a batch once and announce it; gives the number that was new.
SELECT infrastructor_publish_events($1)

-- newest --
-- The last sequence there is.
SELECT COALESCE(max(sequence), 0) FROM events

-- extent --
-- The oldest event there is, and the last number given, also to one that is no longer there.
SELECT COALESCE((SELECT min(sequence) FROM events), given + 1) AS oldest, given AS newest
FROM (SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS given FROM events_sequence) AS numbers

-- since --
-- Events after $1 and up to $2, oldest first.
SELECT sequence, id, topic, kind, severity, device_id, device, subject, at, recorded_at, data
FROM events
WHERE sequence > $1 AND sequence <= $2
  AND (cardinality($3::text[]) = 0 OR topic = ANY($3)) AND (cardinality($4::text[]) = 0 OR kind = ANY($4))
  AND ($5::uuid IS NULL OR device_id = $5) AND ($6::text IS NULL OR subject = $6) AND severity >= $7
  AND ($8::timestamptz IS NULL OR at >= $8) AND ($9::timestamptz IS NULL OR at < $9)
ORDER BY sequence LIMIT $10

-- latest --
-- The same from the other end: newest first.
SELECT sequence, id, topic, kind, severity, device_id, device, subject, at, recorded_at, data
FROM events
WHERE sequence > $1 AND sequence < $2
  AND (cardinality($3::text[]) = 0 OR topic = ANY($3)) AND (cardinality($4::text[]) = 0 OR kind = ANY($4))
  AND ($5::uuid IS NULL OR device_id = $5) AND ($6::text IS NULL OR subject = $6) AND severity >= $7
  AND ($8::timestamptz IS NULL OR at >= $8) AND ($9::timestamptz IS NULL OR at < $9)
ORDER BY sequence DESC LIMIT $10

-- tally --
-- How many of each kind and severity, by the same filter.
SELECT kind, severity, count(*) AS count
FROM events
WHERE (cardinality($1::text[]) = 0 OR topic = ANY($1)) AND (cardinality($2::text[]) = 0 OR kind = ANY($2))
  AND ($3::uuid IS NULL OR device_id = $3) AND ($4::text IS NULL OR subject = $4) AND severity >= $5
  AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
GROUP BY kind, severity
