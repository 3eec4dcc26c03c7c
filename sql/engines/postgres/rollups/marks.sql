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
