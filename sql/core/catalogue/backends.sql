-- Backends whose client is gone without a word.

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
