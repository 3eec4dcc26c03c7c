-- A piece of late.sql: whether a block b that is read by now has a sample at the time of n.

b.last_time >= n.time AND b.first_time < (
                    SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
                AND CASE WHEN b.step_ms IS NOT NULL THEN
                    date_bin(b.step_ms * interval '1 millisecond', n.time, b.first_time) = n.time
                ELSE EXISTS (
                    SELECT FROM (
                        SELECT sum(u.step) OVER (ORDER BY u.n) * interval '1 millisecond' AS after
                        FROM unnest(b.steps) WITH ORDINALITY AS u (step, n)
                    ) AS s
                    WHERE b.first_time + s.after = n.time)
                END
