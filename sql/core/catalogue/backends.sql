-- Backends: those whose client is gone without a word, and who is under way.

CREATE OR REPLACE FUNCTION internal.end_lost_backends(p_pids int[])
RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT count(pg_terminate_backend(pid))
    FROM pg_stat_activity
    WHERE pid = ANY (p_pids)
        AND pid <> pg_backend_pid()
        AND usename = current_user
        AND application_name = current_setting('application_name')
$function$;
COMMENT ON FUNCTION internal.end_lost_backends IS
    'Ends backends of connections that the caller has lost: each may wait for the rest of a COPY, and hold its locks, for hours';

CREATE OR REPLACE FUNCTION internal.transactions_under_way()
RETURNS TABLE (id text, pid int)
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT l.virtualxid, l.pid
    FROM pg_locks AS l
    LEFT JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted
        AND l.pid <> pg_backend_pid()
        AND coalesce(a.datid = (SELECT oid FROM pg_database WHERE datname = current_database()), true)
$function$;
COMMENT ON FUNCTION internal.transactions_under_way IS
    'Transactions of this database but one''s own, by their virtual ids';
