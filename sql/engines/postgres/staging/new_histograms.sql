-- A piece of core/staging/move.sql: histograms that no block has.

WHERE (
                SELECT true FROM internal.histogram_block AS b
                WHERE b.series_id = n.series_id AND b.first_time <= n.time AND b.last_time >= n.time
                    AND b.first_time >= date_bin('6 hours', n.time, @origin@)
                    AND CASE WHEN b.times IS NOT NULL THEN n.time = ANY (b.times)
                        ELSE date_bin(b.step_us * interval '1 microsecond', n.time, b.first_time)
                            = n.time END
                LIMIT 1
            ) IS NULL
