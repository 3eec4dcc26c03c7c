-- A piece of ends.sql: the samples of a block x that are in the period, whatever its steps are.

SELECT e.time, e.value
    FROM (SELECT @regular@ FROM (@places@) AS s WHERE x.step_ms IS NOT NULL) AS e
    UNION ALL
    SELECT e.time, e.value FROM (@irregular@) AS e WHERE x.step_ms IS NULL
