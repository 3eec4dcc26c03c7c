-- What a migration would stand on. Asked before anything is made, and needs no schema of ours.
--
-- $1: the names of our schemas.
--
-- strangers: schemas under our names that are not ours, as "name (owner)"; while internal.migration
--   is there, all of them are ours, whoever owns them by now.
-- schemas: their names alone.
-- example: one of the tables in them.
-- is_old_stack: they are those of the stack of Telegraf, its tables in both of its wide schemas.
WITH ours AS (
    SELECT n.oid, n.nspname, n.nspowner
    FROM pg_namespace n
    WHERE n.nspname = ANY ($1)
), stranger AS (
    SELECT oid, nspname, pg_get_userbyid(nspowner) AS owner
    FROM ours
    WHERE nspowner IS DISTINCT FROM to_regrole('promgres_owner')
        AND NOT EXISTS (
            SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'internal' AND c.relname = 'migration'
        )
)
SELECT current_setting('server_encoding') AS encoding,
    pg_is_in_recovery() AS is_standby,
    current_setting('transaction_read_only')::bool AS is_read_only,
    ARRAY(
        SELECT format('%s (of %s)', nspname, owner) FROM stranger ORDER BY nspname
    ) AS strangers,
    ARRAY(SELECT nspname::text FROM stranger ORDER BY nspname) AS schemas,
    (
        SELECT format('%s.%s', s.nspname, c.relname)
        FROM pg_class c JOIN stranger s ON s.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
        ORDER BY s.nspname = 'internal' DESC, s.nspname, c.relname LIMIT 1
    ) AS example,
    (
        SELECT count(*) = 2
        FROM pg_class c JOIN stranger s ON s.oid = c.relnamespace
        WHERE c.relname = 'prometheus_remote_write' AND c.relkind IN ('r', 'p')
            AND s.nspname IN ('internal', 'cumsum')
    ) AS is_old_stack
