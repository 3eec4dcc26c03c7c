-- A piece of samples.sql: blocks x of six hours that reach into a period begin in its first six hours,
-- or later.

x.first_time >= date_bin('6 hours', @lo@, @origin@) AND x.first_time < @hi@
    AND x.first_time < (SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
