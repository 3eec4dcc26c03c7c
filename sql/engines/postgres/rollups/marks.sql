-- Once, filled in: marks, which say which buckets have samples that their stored rollups do not know of
-- yet.
--
-- Of the last minutes nearly every metric has samples, and whose they are is not asked: such marks
-- are about all metrics, and gone two minutes later. Older samples are few metrics' (a replay, a
-- backfill): their marks name the metric, so that all others stay as cheap to read as they were.

CREATE OR REPLACE FUNCTION internal.late_before()
RETURNS timestamptz
LANGUAGE sql
STABLE
AS $function$
    SELECT now() - interval '5 minutes'
$function$;
COMMENT ON FUNCTION internal.late_before IS 'Samples before this are marked by metric';

-- An expression of its own for the planner: it runs once a sample.
CREATE OR REPLACE FUNCTION internal.minute_bit(p_minute timestamptz)
RETURNS bigint
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $function$
    SELECT 1::bigint
        << (date_part('epoch', p_minute - timestamptz @origin@)::bigint / 60 % 60)::int
$function$;
COMMENT ON FUNCTION internal.minute_bit IS
    'The bit of a minute (its start) among the 60 of its hour, as rollup_mark.minutes has them';

CREATE OR REPLACE FUNCTION internal.marks_of_minutes(p_minutes timestamptz[])
RETURNS TABLE (hour timestamptz, minute timestamptz, minutes bigint)
LANGUAGE sql
IMMUTABLE
AS $function$
    SELECT date_bin('1 hour', m, @origin@), max(m), bit_or(internal.minute_bit(m))
    FROM unnest(p_minutes) AS m
    GROUP BY 1
$function$;
COMMENT ON FUNCTION internal.marks_of_minutes IS
    'Minutes (their starts) as rollup_mark has them: a row an hour, with the newest minute and the bits of all';

CREATE OR REPLACE FUNCTION internal.mark_samples(
    p_target text, p_minutes timestamptz[], p_series bigint[]
)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- Names, not EXECUTE: it runs with every batch, and planning would be three quarters of it.
    CASE p_target
        WHEN 'internal' THEN PERFORM internal.add_marks(p_minutes, p_series);
        WHEN 'cumsum' THEN PERFORM cumsum.add_marks(p_minutes, p_series);
        ELSE NULL;  -- geo has no rollups
    END CASE;
    IF p_series IS NOT NULL AND EXISTS (
        SELECT FROM internal.hours_state AS h
        WHERE h.target = p_target AND h.marked_before > (SELECT min(m) FROM unnest(p_minutes) AS m)
    ) THEN
        PERFORM internal.mark_hours(p_target, p_minutes, p_series);
    END IF;
END
$function$;
COMMENT ON FUNCTION internal.mark_samples IS
    'Marks each of these minutes, of samples written in this transaction, for the metrics of p_series; null is all metrics';

-- Marks and what internal.end_writing asks are one statement here: with a function for each, a request
-- of 100 samples paid as much for the two as for half of its rows.
CREATE OR REPLACE PROCEDURE internal.end_samples(
    p_writer uuid, p_mark bigint, p_life_here text, p_target text, p_minutes timestamptz[]
)
LANGUAGE plpgsql
AS $procedure$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(internal.life_lock());
    CASE p_target
        WHEN 'internal' THEN
            INSERT INTO internal.rollup_mark (hour, minute, minutes)
            SELECT m.hour, m.minute, m.minutes
            FROM internal.writer_here AS w, internal.marks_of_minutes(p_minutes) AS m
            WHERE w.writer = p_writer AND w.mark >= p_mark AND w.life_here = p_life_here;
        WHEN 'cumsum' THEN
            INSERT INTO cumsum.rollup_mark (hour, minute, minutes)
            SELECT m.hour, m.minute, m.minutes
            FROM internal.writer_here AS w, internal.marks_of_minutes(p_minutes) AS m
            WHERE w.writer = p_writer AND w.mark >= p_mark AND w.life_here = p_life_here;
        ELSE  -- geo has no rollups
            CALL internal.end_writing(p_writer, p_mark, p_life_here);
            RETURN;
    END CASE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the data is not what its writer remembers' USING ERRCODE = 'PL001';
    END IF;
END
$procedure$;
COMMENT ON PROCEDURE internal.end_samples IS
    'Marks each of these minutes for all metrics, as mark_samples does, and ends the transaction as end_writing does';

-- Writers remember which marks of late samples they have committed: while one stands, who stores more of
-- its metric and minute needs none. That it stands is asked by the last but one statement of such a
-- transaction, of a number that changes, for everybody at once, when marks are taken:
--
--   a writer:   its rows ... lock, shared: has the number changed? ── no ──► commit, unlock
--                                                             └───── yes ──► all marks anew, commit
--   the worker: marks are deleted, the number changes, lock and unlock ── then it reads samples, commits
--
-- Who asked before it changed has committed when the worker reads, so his samples are in what it stores;
-- who asks later marks anew, and the worker has not taken that. If it fails, old marks stand again.

CREATE OR REPLACE FUNCTION internal.marks_lock()
RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$ SELECT 4162190734415210338 $$;
COMMENT ON FUNCTION internal.marks_lock IS
    'Advisory lock: shared while a transaction ends that relied on marks of earlier ones';

CREATE OR REPLACE FUNCTION internal.note_taken_marks()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM gone) THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM nextval('internal.marks_taken');
    BEGIN
        PERFORM pg_advisory_xact_lock(internal.marks_lock());
        RAISE EXCEPTION USING ERRCODE = 'PL002';
    EXCEPTION WHEN SQLSTATE 'PL002' THEN
        NULL;  -- which gives the lock back: nobody waits until the worker is done
    END;
    RETURN NULL;
END
$function$;
COMMENT ON FUNCTION internal.note_taken_marks IS
    'The trigger of marks: tells writers that some were taken away, and waits for those that have not heard of it';

CREATE OR REPLACE FUNCTION internal.late_state(
    p_target text, p_series bigint[],
    OUT taken bigint, OUT metrics int[], OUT hours_before int
)
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT t.last_value, ARRAY(
            SELECT s.metric_id
            FROM unnest(p_series) WITH ORDINALITY AS n (series_id, number)
            LEFT JOIN internal.series AS s USING (series_id)
            ORDER BY n.number),
        internal.day_of_hours(h.marked_before)
    FROM internal.marks_taken AS t, internal.hours_state AS h
    WHERE h.target = p_target
$function$;
COMMENT ON FUNCTION internal.late_state IS
    'What a writer of late samples has to know of a target: how often marks were taken away, the metric of each of p_series, the day (since 1970) before which hours of series are marked; nulls where nothing is';

CREATE OR REPLACE PROCEDURE internal.mark_late(
    p_target text, p_taken bigint, p_metrics int[], p_minutes int[], p_bits bigint[],
    p_standing_metrics text, p_standing_minutes text, p_standing_bits text,
    p_from_day int, p_series bigint[], p_days int[]
)
LANGUAGE plpgsql
AS $procedure$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(internal.marks_lock());
    IF p_taken <> (SELECT t.last_value FROM internal.marks_taken AS t) THEN
        CALL internal.mark_late(
            p_target, NULL, p_standing_metrics::int[], p_standing_minutes::int[],
            p_standing_bits::bigint[], NULL, NULL, NULL, NULL, NULL, NULL);
    END IF;
    CASE
        WHEN p_metrics = '{}' THEN NULL;
        WHEN p_target = 'internal' THEN
            INSERT INTO internal.rollup_mark (hour, minute, metric_id, minutes)
            SELECT to_timestamp(coalesce(m.minute, p_minutes[1]) / 60 * 3600.0),
                to_timestamp(coalesce(m.minute, p_minutes[1]) * 60.0),
                m.metric_id, coalesce(m.bits, p_bits[1])
            FROM unnest(p_metrics, p_minutes, p_bits) AS m (metric_id, minute, bits);
        WHEN p_target = 'cumsum' THEN
            INSERT INTO cumsum.rollup_mark (hour, minute, metric_id, minutes)
            SELECT to_timestamp(coalesce(m.minute, p_minutes[1]) / 60 * 3600.0),
                to_timestamp(coalesce(m.minute, p_minutes[1]) * 60.0),
                m.metric_id, coalesce(m.bits, p_bits[1])
            FROM unnest(p_metrics, p_minutes, p_bits) AS m (metric_id, minute, bits);
    END CASE;
    IF p_from_day IS NOT NULL THEN
        CALL internal.mark_days(p_target, p_from_day, p_series, p_days);
    END IF;
END
$procedure$;
COMMENT ON PROCEDURE internal.mark_late IS
    'Marks late samples of this transaction: metrics, their newest minute since 1970 and all minutes of its hour as bits, parallel, or one element if all are the same; those that stood when p_taken was so only if marks were taken since; hours of series as mark_days does, unless p_from_day is null';

CREATE OR REPLACE FUNCTION internal.marked_period(
    p_hours timestamptz[], p_minutes bigint[], OUT lo timestamptz, OUT hi timestamptz
)
LANGUAGE sql
IMMUTABLE
AS $function$
    SELECT min(hour + n * interval '1 minute'), max(hour + (n + 1) * interval '1 minute')
    FROM (
        SELECT hour, bit_or(minutes) FROM unnest(p_hours, p_minutes) AS mark (hour, minutes)
        GROUP BY 1
    ) AS marked (hour, minutes),
        generate_series(0, 59) AS n
    WHERE (minutes >> n) & 1 = 1
$function$;
COMMENT ON FUNCTION internal.marked_period IS
    'From the first marked minute to the end of the last one';

GRANT EXECUTE ON FUNCTION internal.minute_bit(timestamptz) TO sql_reader;
