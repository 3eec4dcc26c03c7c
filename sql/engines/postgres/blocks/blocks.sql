-- A piece of samples.sql: blocks that reach into a period. Those of six hours begin in its first six
-- hours or later; longer ones, which have an index of their own, in its first week.

SELECT * FROM @target@.block
    WHERE first_time >= date_bin('6 hours', @lo@, @origin@) AND first_time < @hi@
        AND first_time < (SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
    UNION ALL
    SELECT * FROM @target@.block
    WHERE first_time >= date_bin('7 days', @lo@, @origin@)
        AND first_time < date_bin('6 hours', @lo@, @origin@) AND last_time >= @lo@
        AND date_bin('6 hours', last_time, @origin@) > first_time
        AND first_time < (SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
