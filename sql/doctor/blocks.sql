-- Engine postgres: how packing stands, and who holds it up.
-- $1: seconds that the oldest partition may wait. Who has been there for less than a minute is on its
-- way, and holds nothing up: an upgrade packs what is old for a while.
SELECT s.target, internal.packs() AS is_on, p.waiting, p.behind_seconds, p.oldest, p.held_seconds, p.held,
    h.holders,
    (
        SELECT string_agg(format('%s (pid %s, for %s)',
                coalesce(nullif(a.application_name, ''), a.usename::text, 'unknown'), u.pid,
                coalesce(date_trunc('second', now() - a.xact_start)::text, 'an unknown time')), ', ')
        FROM unnest(h.holders) AS u (pid)
        LEFT JOIN pg_stat_activity AS a ON a.pid = u.pid
    ) AS who,
    greatest(p.behind_seconds, p.held_seconds) > $1::float8 AS is_late
FROM internal.sample_target AS s
CROSS JOIN LATERAL internal.packing_of(s.target) AS p
CROSS JOIN LATERAL (
    SELECT array_agg(u.pid) AS holders
    FROM unnest(p.holders) AS u (pid)
    LEFT JOIN pg_stat_activity AS a ON a.pid = u.pid
    WHERE coalesce(a.xact_start <= now() - least($1::float8, 60) * interval '1 second', true)
) AS h
ORDER BY s.target
