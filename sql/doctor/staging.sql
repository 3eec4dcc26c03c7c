-- Staging tables: how large they have grown, and whether what is copied into them is moved on.
SELECT format('%I.%I', n.nspname, c.relname) AS relation, pg_table_size(c.oid) AS size_bytes,
    EXISTS (
        SELECT FROM pg_trigger g
        WHERE g.tgrelid = c.oid AND g.tgname LIKE 'move\_%' AND g.tgenabled IN ('O', 'A')
    ) AS is_moved_on
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('staging_internal', 'staging_cumsum', 'staging_geo', 'staging_app')
    AND c.relkind = 'r' AND c.relpersistence = 'u'
ORDER BY 1
