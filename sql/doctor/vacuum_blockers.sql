-- What keeps vacuum from removing dead rows: open transactions of this database, prepared ones, and
-- replication slots. `statement` ends it.
-- $1: seconds; $2: bytes of WAL that an idle slot may keep.
SELECT 'session ' || a.pid || ' (' || coalesce(nullif(a.application_name, ''), a.usename::text) || ')'
        AS what,
    extract(epoch FROM now() - a.xact_start)::float8 AS seconds, a.state,
    format('SELECT pg_terminate_backend(%s)', a.pid) AS statement
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.backend_type = 'client backend'
    AND a.pid <> pg_backend_pid() AND now() - a.xact_start > make_interval(secs => $1)
UNION ALL
SELECT 'prepared transaction ' || p.gid, extract(epoch FROM now() - p.prepared)::float8, 'prepared',
    format('ROLLBACK PREPARED %L', p.gid)
FROM pg_prepared_xacts p
WHERE p.database = current_database() AND now() - p.prepared > make_interval(secs => $1)
UNION ALL
SELECT format('replication slot %s, which keeps %s of WAL', s.slot_name,
        pg_size_pretty(pg_current_wal_lsn() - s.restart_lsn)),
    0, 'inactive', format('SELECT pg_drop_replication_slot(%L)', s.slot_name)
FROM pg_replication_slots s
WHERE NOT s.active AND NOT pg_is_in_recovery() AND pg_current_wal_lsn() - s.restart_lsn > $2::bigint
ORDER BY 2 DESC
