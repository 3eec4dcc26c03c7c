-- Rows of a period, every column of a fixed length, so that they are one numpy array. `kind` stands
-- for schema and name. `care` says what a float cannot: 0 nothing, 1 that the value has more digits
-- (it is asked for as text), 2 that it is beyond every float.
SELECT time, tag_id, pg_catalog.hashtextextended(schema || chr(1) || name, 0) AS kind,
    CASE WHEN fits THEN value::float8 ELSE 0 END AS value,
    CASE
        WHEN NOT fits THEN 2
        WHEN value = value::float8::text::numeric THEN 0
        ELSE 1
    END::int2 AS care
FROM (
    SELECT *,
        value = 0 OR abs(value) BETWEEN 1e-300 AND 1.7e308 OR value::text IN
            ('NaN', 'Infinity', '-Infinity') AS fits
    FROM @table@
    WHERE time >= $1 AND time < $2
    LIMIT $3
) AS each
