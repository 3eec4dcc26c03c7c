-- Tables of Telegraf's layout, in whatever schemas they are by now. Its staging tables hold nothing,
-- and what has these names in our schemas are views, but for excluded_addresses.
SELECT n.nspname AS schema, c.relname AS name,
    array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p')
    AND c.relname IN ('prometheus_remote_write', 'prometheus_remote_write_tag', 'excluded_addresses')
    AND n.nspname NOT LIKE '%staging%'
GROUP BY n.nspname, c.relname
ORDER BY n.nspname, c.relname
