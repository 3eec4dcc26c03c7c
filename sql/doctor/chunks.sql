-- Engine timescaledb: chunks that the jobs should have compressed or dropped by now, and which jobs
-- of internal.job do it.
-- $1: seconds that they may be late.
SELECT r.relation, r.compressed_by, 'internal.drop_expired' AS dropped_by,
    count(*) FILTER (
        WHERE c.range_end < now() - make_interval(
            hours => 24 * internal.retention_days(r.target), secs => $1)
            AND s.changed_at < now() - interval '5 minutes'  -- until then none is dropped
    )::int AS expired,
    count(*) FILTER (
        WHERE NOT c.is_compressed AND c.range_end < now() - internal.compress_after()
            - make_interval(secs => $1)
    )::int AS uncompressed,
    count(c.chunk_name)::int AS chunks
FROM (
    SELECT target, format('%I.%I', target, name) AS relation,
        format('compression of %s.%s', target, name) AS compressed_by,
        target::name AS table_schema, name::name AS table_name, name <> 'sample' AS is_beside
    FROM internal.store
    UNION ALL
    SELECT view_schema, format('%I.%I', view_schema, view_name), 'internal.compress_rollups',
        materialization_hypertable_schema, materialization_hypertable_name, true
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema IN ('internal', 'cumsum') AND view_name = 'parts_1m'
) AS r
LEFT JOIN timescaledb_information.chunks c
    ON (c.hypertable_schema, c.hypertable_name) = (r.table_schema, r.table_name)
LEFT JOIN internal.setting s ON s.key = 'retention.' || r.target || '_days'
GROUP BY r.target, r.relation, r.compressed_by, r.is_beside
ORDER BY r.is_beside, r.relation
