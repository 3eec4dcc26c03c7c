-- A piece of samples.sql: longer ones begin in its first week, or later.

x.first_time >= date_bin('7 days', @lo@, @origin@) AND x.first_time < @hi@ AND x.last_time >= @lo@
    AND x.first_time < (SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
