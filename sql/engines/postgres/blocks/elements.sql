-- A piece of samples.sql: the samples of a block x that are in the period. The first half is of regular
-- steps and reads only these, the second of others. The last function returns nothing: it tells the
-- planner that a block has a thousand samples, where it would think of ten.

SELECT x.first_time + (s.lo + u.n - 2) * x.step_ms * interval '1 millisecond' AS time, u.value, u.exact
    FROM (@places@) AS s
    CROSS JOIN ROWS FROM (
        unnest(x.value[s.lo:s.hi], x.exact[s.lo:s.hi]), string_to_table(NULL, '')
    ) WITH ORDINALITY AS u (value, exact, nothing, n)
    WHERE x.step_ms IS NOT NULL
    UNION ALL
    SELECT w.time, w.value, w.exact
    FROM (
        SELECT x.first_time + sum(u.step) OVER (ORDER BY u.n) * interval '1 millisecond' AS time,
            u.value, u.exact
        FROM unnest(x.steps, x.value, x.exact) WITH ORDINALITY AS u (step, value, exact, n)
    ) AS w
    WHERE x.step_ms IS NULL AND w.time >= @lo@ AND w.time < @hi@
