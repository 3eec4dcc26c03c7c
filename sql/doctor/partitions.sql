-- Engine postgres: whether there is a partition for now, and which are past their retention.
-- $1: seconds that dropping may be late.
SELECT t.target,
    count(p.relname)::int AS partitions,
    coalesce(bool_or(p.bounds @> now()), false) AS has_today,
    extract(epoch FROM now() - max(upper(p.bounds)))::float8 AS since_newest,
    count(*) FILTER (
        WHERE upper(p.bounds) <= now() - make_interval(days => internal.retention_days(t.target), secs => $1)
    )::int AS expired
FROM internal.target t
LEFT JOIN LATERAL (
    SELECT c.relname, internal.partition_bounds(c.relname) AS bounds
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = format('%I.sample', t.target)::regclass
        AND c.relname ~ '^sample_p[0-9]{6}([0-9]{2})?$'
) AS p ON true
GROUP BY t.target
ORDER BY t.target
