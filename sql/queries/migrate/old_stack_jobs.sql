-- Jobs of TimescaleDB that run by themselves for what stands in some schemas ($1): policies of
-- hypertables and of continuous aggregates, whose hypertables stand elsewhere, and procedures.
SELECT j.job_id
FROM timescaledb_information.jobs j
LEFT JOIN timescaledb_information.continuous_aggregates a
    ON a.materialization_hypertable_schema = j.hypertable_schema
    AND a.materialization_hypertable_name = j.hypertable_name
WHERE j.scheduled AND (
    j.hypertable_schema = ANY ($1) OR j.proc_schema = ANY ($1) OR a.view_schema = ANY ($1)
)
ORDER BY j.job_id
