-- Notes what a repeatable file has just made. $1: the file; in its transaction.
INSERT INTO internal.object (kind, name, file)
SELECT made.kind, made.name, $1
FROM (
    SELECT 'routine' AS kind, p.oid::regprocedure::text AS name, p.pronamespace AS namespace, p.xmin
    FROM pg_proc p
    UNION ALL
    SELECT 'view', c.oid::regclass::text, c.relnamespace, r.xmin
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE r.rulename = '_RETURN'
    UNION ALL
    SELECT 'trigger', format('%I on %I.%I', g.tgname, n.nspname, c.relname), n.oid, g.xmin
    FROM pg_trigger g
    JOIN pg_class c ON c.oid = g.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT g.tgisinternal
) AS made
JOIN pg_namespace s ON s.oid = made.namespace
WHERE made.xmin = pg_current_xact_id()::xid AND s.nspname !~ '^(pg_|_timescaledb|timescaledb)'
ON CONFLICT (kind, name) DO NOTHING
