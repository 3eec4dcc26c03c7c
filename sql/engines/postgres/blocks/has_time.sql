-- A piece of late.sql: whether a block b that is read by now has a sample at the time of n.

b.last_time >= n.time AND b.first_time < (
                    SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
                AND CASE WHEN b.step_ms IS NOT NULL THEN
                    date_bin(b.step_ms * interval '1 millisecond', n.time, b.first_time) = n.time
                ELSE internal.is_reached(b.steps, n.time - b.first_time)
                END
