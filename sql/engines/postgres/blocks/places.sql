-- A piece of samples.sql: the first and the last element of a block x that are in the period; null
-- where steps are irregular and the period begins, or ends, within the block. Microseconds are whole
-- numbers here, far below 2^53, so that no quotient of them is rounded to a whole number that it is
-- not. OFFSET, so that it is computed once a block.

SELECT
        CASE WHEN x.first_time >= @lo@ THEN 1
            ELSE ceil(round(date_part('epoch', @lo@ - x.first_time) * 1e6)
                / (x.step_ms * float8 '1000'))::int + 1
        END AS lo,
        CASE WHEN x.last_time < @hi@ THEN x.count
            ELSE ceil(round(date_part('epoch', @hi@ - x.first_time) * 1e6)
                / (x.step_ms * float8 '1000'))::int
        END AS hi
    OFFSET 0
