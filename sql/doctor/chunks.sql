-- Engine timescaledb: chunks that the policies should have compressed or dropped by now.
-- $1: seconds that the daily jobs may be late.
SELECT s.store, format('%I.%I', s.target, s.name) AS relation,
    count(*) FILTER (
        WHERE c.range_end < now() - make_interval(days => internal.retention_days(s.target), secs => $1)
    )::int AS expired,
    count(*) FILTER (
        WHERE NOT c.is_compressed AND c.range_end < now() - make_interval(
            days => (SELECT nullif(value, '')::int FROM internal.setting
                     WHERE key = 'compress_after_days'), secs => $1)
    )::int AS uncompressed,
    count(c.chunk_name)::int AS chunks
FROM internal.store s
LEFT JOIN timescaledb_information.chunks c
    ON c.hypertable_schema = s.target AND c.hypertable_name = s.name
GROUP BY s.store, s.target, s.name
ORDER BY s.name <> 'sample', relation
