-- A piece of between.sql: as places.sql, and where steps are irregular they are counted.

SELECT coalesce(p.lo, internal.steps_before(x.steps, p_from - x.first_time) + 1) AS lo,
            coalesce(p.hi, internal.steps_before(x.steps, p_to - x.first_time)) AS hi
        FROM (@places@) AS p
        OFFSET 0
