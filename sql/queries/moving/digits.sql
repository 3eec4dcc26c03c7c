-- Values of a period that have more digits than a float, in full (`care` 1 of rows.sql).
SELECT time, tag_id, pg_catalog.hashtextextended(schema || chr(1) || name, 0) AS kind,
    value::text AS digits
FROM @table@
WHERE time >= $1 AND time < $2
    AND (value = 0 OR abs(value) BETWEEN 1e-300 AND 1.7e308)
    AND value <> value::float8::text::numeric
