-- Sessions that hold a lock on a table for longer than a batch takes.
-- $1: the table; $2: seconds. Of other logins' sessions we may see no more than the pid.
SELECT DISTINCT l.pid, coalesce(nullif(a.application_name, ''), a.usename::text, 'unknown') AS who,
    coalesce(extract(epoch FROM now() - a.xact_start), 0)::float8 AS seconds
FROM pg_locks l
JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = $1::text::regclass AND l.granted AND l.pid <> pg_backend_pid()
    AND (a.xact_start IS NULL OR now() - a.xact_start > make_interval(secs => $2))
ORDER BY seconds DESC
