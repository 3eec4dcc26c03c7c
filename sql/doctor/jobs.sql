-- The extension's jobs for our tables. A job that never succeeded waits since it was made;
-- `overdue` is how long ago its next run should have begun.
SELECT j.job_id,
    CASE j.proc_name
        WHEN 'policy_compression' THEN 'compression of ' || j.hypertable_schema || '.' || j.hypertable_name
        WHEN 'policy_retention' THEN 'retention of ' || j.hypertable_schema || '.' || j.hypertable_name
        ELSE j.proc_schema || '.' || j.proc_name
    END AS job,
    j.proc_name = 'refresh_rollups' AS is_refresh,
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
FROM timescaledb_information.jobs j
LEFT JOIN timescaledb_information.job_stats s USING (job_id)
WHERE (j.proc_schema = 'internal' AND j.proc_name = 'refresh_rollups')
    OR j.hypertable_schema IN ('internal', 'cumsum', 'geo')
ORDER BY j.job_id
