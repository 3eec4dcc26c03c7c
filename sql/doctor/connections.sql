-- Connections in use on the whole server, and how many an ordinary login may have.
SELECT (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database)::int AS used,
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int AS usable
