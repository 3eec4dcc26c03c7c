-- A piece of pack.sql: samples of the blocks b that a statement has just taken away.

v.time, v.value, v.exact
        FROM gone AS b
        CROSS JOIN LATERAL (
            SELECT b.first_time + interval '1 millisecond' * coalesce(
                    (u.n - 1) * b.step_ms::float8, sum(u.step) OVER (ORDER BY u.n)
                ) AS time,
                u.value, u.exact
            FROM unnest(b.steps, b.value, b.exact) WITH ORDINALITY AS u (step, value, exact, n)
        ) AS v
