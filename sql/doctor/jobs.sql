-- The extension's jobs for us, those that are missing too (without a job_id). A job that never
-- succeeded waits since it was made; `overdue` is how long ago its next run should have begun.
SELECT j.job_id, w.job, w.proc_name = 'refresh_rollups' AS is_refresh,
    j.scheduled,
    coalesce(s.last_run_status = 'Failed', false) AS is_failing,
    extract(epoch FROM j.schedule_interval)::float8 AS interval_seconds,
    extract(epoch FROM now() - nullif(s.last_successful_finish, '-infinity'))::float8
        AS since_success,
    extract(epoch FROM now() - coalesce(nullif(s.last_successful_finish, '-infinity'), j.initial_start))::float8
        AS waiting,
    CASE WHEN s.job_status = 'Scheduled'
        THEN extract(epoch FROM now() - nullif(coalesce(s.next_start, j.next_start), '-infinity'))::float8
    END AS overdue,
    (SELECT e.err_message FROM timescaledb_information.job_errors e
     WHERE e.job_id = j.job_id ORDER BY e.start_time DESC LIMIT 1) AS last_error
FROM internal.job w
LEFT JOIN timescaledb_information.jobs j
    ON j.proc_name = w.proc_name
    AND j.hypertable_schema IS NOT DISTINCT FROM w.sql_schema
    AND j.hypertable_name IS NOT DISTINCT FROM w.relation
LEFT JOIN timescaledb_information.job_stats s USING (job_id)
ORDER BY j.job_id, w.job
