-- A piece of pack.sql: rows (series_id, span, time, value, exact), at whole milliseconds, as blocks, one a
-- series and span, in the order of the columns of {target}.block. A block of one sample has a step,
-- which means nothing.

SELECT b.series_id, b.first_time, b.last_time, b.count,
        CASE WHEN b.shortest IS NOT DISTINCT FROM b.longest THEN coalesce(b.longest, 1) END,
        CASE WHEN b.shortest <> b.longest THEN b.steps END,
        b.value,
        CASE WHEN b.exacts > 0 THEN b.exact END
    FROM (
        SELECT r.series_id, min(r.time) AS first_time, max(r.time) AS last_time,
            count(*)::int AS count, min(r.step) AS shortest, max(r.step) AS longest,
            array_agg(coalesce(r.step, 0) ORDER BY r.time) AS steps,
            array_agg(r.value ORDER BY r.time) AS value,
            count(r.exact) AS exacts, array_agg(r.exact ORDER BY r.time) AS exact
        FROM (
            SELECT series_id, span, time, value, exact, (1000 * date_part('epoch', time - lag(time)
                OVER (PARTITION BY series_id, span ORDER BY time)))::int AS step
            FROM rows
        ) AS r
        GROUP BY r.series_id, r.span
    ) AS b
