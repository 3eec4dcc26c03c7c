-- Tables of ours that autovacuum must leave alone (but staging, which is only ever emptied), and how
-- many transactions the oldest row of this database has seen.
SELECT (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database())
        AS transactions,
    ARRAY(
        SELECT c.oid::regclass::text
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('internal', 'cumsum', 'geo', 'app')
            AND EXISTS (
                SELECT FROM unnest(c.reloptions) AS option
                WHERE lower(option) ~ '^autovacuum_enabled=(off|false|no|0)$'
            )
        ORDER BY 1
    ) AS left_alone
