-- A piece of samples.sql: the first and the last element of a block b that are in the period. OFFSET, so
-- that it is computed once a block.

SELECT
        ceil(extract(epoch FROM greatest(b.first_time, @lo@) - b.first_time) * 1000 / b.step_ms)::int
            + 1 AS lo,
        ceil(extract(epoch FROM least(b.last_time + interval '1 microsecond', @hi@) - b.first_time)
            * 1000 / b.step_ms)::int AS hi
    OFFSET 0
