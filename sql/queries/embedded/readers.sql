-- Backends of the read side that are past their greeting, so that they have said what they are for.

SELECT pid, application_name = 'promgres api dear' AS is_dear
FROM pg_stat_activity
WHERE usename = $1 AND state <> 'starting';
