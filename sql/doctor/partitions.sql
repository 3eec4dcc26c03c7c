-- Engine postgres: whether there is a partition for now, and which are past their retention.
-- $1: seconds that dropping may be late.
SELECT s.store, format('%I.%I', s.target, s.name) AS relation, s.name = 'sample' AS is_steady,
    count(p.name) FILTER (WHERE p."table" NOT LIKE '%block')::int AS partitions,
    coalesce(bool_or(p.bounds @> now() AND p."table" IN ('hot', s.name)), false) AS has_today,
    extract(epoch FROM now() - max(upper(p.bounds)))::float8 AS since_newest,
    count(*) FILTER (
        WHERE upper(p.bounds) <= now() - make_interval(hours => 24 * internal.retention_days(s.target), secs => $1)
    )::int AS expired
FROM internal.store s
LEFT JOIN LATERAL internal.partitions_of(s.store) AS p ON true
GROUP BY s.store, s.target, s.name
ORDER BY s.name <> 'sample', relation
