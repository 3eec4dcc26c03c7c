-- A piece of samples.sql: the samples of a block x of irregular steps that are in the period. A window
-- without an order takes elements as they come. The last function returns nothing: it tells the planner
-- that a block has a thousand samples, where it would think of ten.

SELECT w.time, w.value, w.exact
    FROM (
        SELECT u.value, u.exact,
            x.first_time + sum(u.step) OVER (ROWS UNBOUNDED PRECEDING) * interval '1 millisecond' AS time
        FROM (
            SELECT unnest(x.steps) AS step, unnest(x.value) AS value, unnest(x.exact) AS exact,
                string_to_table(NULL, '') AS nothing
        ) AS u
    ) AS w
    WHERE w.time >= @lo@ AND w.time < @hi@
