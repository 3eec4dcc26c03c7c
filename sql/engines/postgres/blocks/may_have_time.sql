-- A piece of late.sql: whether a block b that is read by now has a sample at the time of n, or may have
-- one, if its steps are irregular.

b.last_time >= n.time AND b.first_time < p_packed
                AND (b.step_ms IS NULL
                    OR date_bin(b.step_ms * interval '1 millisecond', n.time, b.first_time) = n.time)
