-- Databases and roles that turn synchronous_commit off for sessions that may write samples here.
-- A null role means all of them, a null database likewise.
SELECT d.datname::text AS database, r.rolname::text AS role
FROM pg_db_role_setting s
CROSS JOIN unnest(s.setconfig) AS config
LEFT JOIN pg_database d ON d.oid = s.setdatabase
LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE lower(config) ~ '^synchronous_commit=(off|false|no|0)$'
    AND (s.setdatabase = 0 OR d.datname = current_database())
    AND (s.setrole = 0 OR pg_has_role(s.setrole, 'promgres_owner', 'MEMBER'))
ORDER BY 1 NULLS FIRST, 2 NULLS FIRST
