-- Which server this is, whether it takes writes, and who we are in it. Needs no schema of ours.
SELECT current_setting('server_version') AS version,
    current_setting('server_version_num')::int AS version_number,
    current_database()::text AS database,
    current_setting('server_encoding') AS encoding,
    current_user::text AS login,
    pg_is_in_recovery() AS is_standby,
    current_setting('default_transaction_read_only')::bool AS is_read_only,
    EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'internal' AND c.relname = 'setting'
    ) AS is_migrated,
    CASE WHEN to_regrole('promgres_owner') IS NULL THEN false
        ELSE pg_has_role(current_user, 'promgres_owner', 'USAGE') END AS is_owner
