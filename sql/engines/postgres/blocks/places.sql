-- A piece of samples.sql: the first and the last element of a block x that are in the period. OFFSET, so
-- that it is computed once a block.

SELECT
        ceil(extract(epoch FROM greatest(x.first_time, @lo@) - x.first_time) * 1000 / x.step_ms)::int
            + 1 AS lo,
        ceil(extract(epoch FROM least(x.last_time + interval '1 microsecond', @hi@) - x.first_time)
            * 1000 / x.step_ms)::int AS hi
    OFFSET 0
