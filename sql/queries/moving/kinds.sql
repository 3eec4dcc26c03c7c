-- Which schema and name each `kind` of rows.sql stands for, of those in a period.
SELECT DISTINCT schema, name, pg_catalog.hashtextextended(schema || chr(1) || name, 0) AS kind
FROM @table@
WHERE time >= $1 AND time < $2
