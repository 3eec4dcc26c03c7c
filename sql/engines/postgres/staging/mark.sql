-- A piece of core/staging/move.sql: notes which buckets a batch of samples has touched. Recent minutes
-- are marked for all metrics, late ones for those of the batch, see rollups/marks.sql. A transaction
-- that does so itself, at its end, says that it marks later.

    DECLARE
        v_late_before timestamptz := internal.late_before();
        v_minutes     timestamptz[];
        v_is_late     boolean;
    BEGIN
        IF v_new > 0 AND current_setting('promgres.marks', true) IS DISTINCT FROM 'later' THEN
            SELECT array_agg(DISTINCT date_bin('1 minute', time, @origin@))
                    FILTER (WHERE time >= v_late_before),
                bool_or(time < v_late_before)
            INTO v_minutes, v_is_late FROM new_rows;
            PERFORM internal.mark_samples('@target@', v_minutes, NULL);
            IF v_is_late THEN
                INSERT INTO @target@.rollup_mark (hour, minute, metric_id, minutes)
                SELECT date_bin('1 hour', r.minute, @origin@), max(r.minute),
                    s.metric_id, bit_or(internal.minute_bit(r.minute))
                FROM (
                    SELECT DISTINCT date_bin('1 minute', time, @origin@) AS minute,
                        series_id
                    FROM new_rows WHERE time < v_late_before
                ) AS r
                JOIN internal.series AS s USING (series_id)
                GROUP BY 1, 3;
            END IF;
        END IF;
    END;
