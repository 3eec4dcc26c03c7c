-- Engine postgres: how packing stands, and who holds it up.
-- $1: seconds that the oldest partition may wait.
SELECT s.target, internal.packs() AS is_on, p.waiting, p.behind_seconds, p.oldest, p.held_seconds, p.held,
    p.holders,
    (
        SELECT string_agg(format('%s (pid %s, for %s)',
                coalesce(nullif(a.application_name, ''), a.usename::text, 'unknown'), h.pid,
                coalesce(date_trunc('second', now() - a.xact_start)::text, 'an unknown time')), ', ')
        FROM unnest(p.holders) AS h (pid)
        LEFT JOIN pg_stat_activity AS a ON a.pid = h.pid
    ) AS who,
    greatest(p.behind_seconds, p.held_seconds) > $1::float8 AS is_late
FROM internal.sample_target AS s
CROSS JOIN LATERAL internal.packing_of(s.target) AS p
ORDER BY s.target
