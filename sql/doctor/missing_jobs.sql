-- Jobs that the recorded policies ask for and the extension does not have; `statement` makes them.
WITH wanted (job, proc_name, sql_schema, relation, statement) AS (
    SELECT 'internal.refresh_rollups', 'refresh_rollups', NULL, NULL,
        'SELECT public.add_job(''internal.refresh_rollups'', INTERVAL ''20 seconds'')'
    UNION ALL
    SELECT format('retention of %s.%s', target, name), 'policy_retention', target, name,
        format('SELECT internal.apply_retention(%L)', target)
    FROM internal.store WHERE internal.retention_days(target) IS NOT NULL
    UNION ALL
    SELECT format('compression of %s.%s', target, name), 'policy_compression', target, name,
        format('SELECT internal.apply_compression(%L)', target)
    FROM internal.store
    WHERE EXISTS (SELECT FROM internal.setting WHERE key = 'compress_after_days' AND value <> '')
)
SELECT job, statement FROM wanted w
WHERE NOT EXISTS (
    SELECT FROM timescaledb_information.jobs j
    WHERE j.proc_name = w.proc_name
        AND j.hypertable_schema IS NOT DISTINCT FROM w.sql_schema
        AND j.hypertable_name IS NOT DISTINCT FROM w.relation
)
ORDER BY job
