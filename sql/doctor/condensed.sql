-- Engine postgres: how long ago minutes and native histograms could have been packed, and hours of series
-- made, that are not; and what changes as soon as somebody is at it. Who may not know yet that he is to
-- mark what he stores has been there for more than a minute.
SELECT b.target, b.minutes, b.hours, b.histograms, concat_ws(' ', m.*, b.packed) AS minutes_at,
    concat_ws(' ', h.*, b.todo) AS hours_at, w.who, w.pids,
    (SELECT array_agg(k.* ORDER BY k.part)::text FROM internal.histogram_packing AS k)
        AS histograms_at
FROM (
    SELECT 'internal' AS target, internal.minutes_behind() AS minutes,
        internal.hours_behind() AS hours, internal.histograms_behind() AS histograms,
        (SELECT count(*) FROM internal.packed_1m WHERE span >= (
            SELECT reached FROM internal.packed_minutes WHERE target = 'internal')) AS packed,
        (SELECT count(*) FROM internal.hours_todo WHERE target = 'internal') AS todo
    UNION ALL
    SELECT 'cumsum', cumsum.minutes_behind(), cumsum.hours_behind(), 0,
        (SELECT count(*) FROM cumsum.packed_1m WHERE span >= (
            SELECT reached FROM internal.packed_minutes WHERE target = 'cumsum')),
        (SELECT count(*) FROM internal.hours_todo WHERE target = 'cumsum')
) AS b
JOIN internal.packed_minutes AS m USING (target)
JOIN internal.hours_state AS h USING (target)
CROSS JOIN LATERAL (
    SELECT string_agg(format('%s (pid %s, for %s)',
            coalesce(nullif(a.application_name, ''), a.usename::text, 'unknown'), t.pid,
            coalesce(date_trunc('second', now() - a.xact_start)::text, 'an unknown time')), ', ')
            AS who,
        array_agg(t.pid) AS pids
    FROM internal.transactions_under_way() AS t
    LEFT JOIN pg_stat_activity AS a ON a.pid = t.pid
    WHERE NOT h.is_known AND t.id = ANY (h.waits_for)
        AND coalesce(a.xact_start <= now() - least($1::float8, 60) * interval '1 second', true)
) AS w
ORDER BY b.target
