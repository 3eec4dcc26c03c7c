-- Functions of our schemas that anybody who can connect may call.
SELECT n.nspname::text AS sql_schema, p.oid::regprocedure::text AS routine
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname IN (
        'api', 'app', 'internal', 'cumsum', 'geo',
        'staging_internal', 'staging_cumsum', 'staging_geo', 'staging_app'
    )
    AND EXISTS (
        SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
        WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE'
    )
ORDER BY 1, 2
