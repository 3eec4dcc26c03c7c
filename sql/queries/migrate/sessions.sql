-- Who else is in this database, as "user" or "user (program)"; background workers are nobody.
SELECT DISTINCT usename || coalesce(format(' (%s)', nullif(application_name, '')), '') AS who
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
    AND pid <> pg_backend_pid() AND application_name NOT LIKE 'promgres migrate%'
ORDER BY who
