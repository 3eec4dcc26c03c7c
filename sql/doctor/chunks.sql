-- Engine timescaledb: chunks that the policies should have compressed or dropped by now.
-- $1: seconds that the daily jobs may be late.
SELECT t.target,
    count(*) FILTER (
        WHERE c.range_end < now() - make_interval(days => internal.retention_days(t.target), secs => $1)
    )::int AS expired,
    count(*) FILTER (
        WHERE NOT c.is_compressed AND c.range_end < now() - make_interval(
            days => (SELECT nullif(value, '')::int FROM internal.setting
                     WHERE key = 'compress_after_days'), secs => $1)
    )::int AS uncompressed,
    count(c.chunk_name)::int AS chunks
FROM internal.target t
LEFT JOIN timescaledb_information.chunks c
    ON c.hypertable_schema = t.target AND c.hypertable_name = 'sample'
GROUP BY t.target
ORDER BY t.target
