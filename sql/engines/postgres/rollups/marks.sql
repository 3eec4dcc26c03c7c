-- Marks: which buckets have samples that their stored rollups do not know of yet.
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
        << (date_part('epoch', p_minute - timestamptz '2000-01-03 00:00+00')::bigint / 60 % 60)::int
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
DECLARE
    v_metrics int[] := ARRAY[NULL]::int[];
BEGIN
    IF p_target = 'geo' OR coalesce(cardinality(p_minutes), 0) = 0 THEN  -- geo has no rollups
        RETURN;
    END IF;
    IF p_series IS NOT NULL THEN
        v_metrics := ARRAY(
            SELECT DISTINCT metric_id FROM internal.series WHERE series_id = ANY (p_series));
    END IF;
    EXECUTE format($insert$
        INSERT INTO %I.rollup_mark (hour, minute, metric_id, minutes)
        SELECT marked.hour, marked.minute, metric_id, marked.minutes
        FROM unnest($2) AS metric_id,
            (
                SELECT date_bin('1 hour', m, '2000-01-03 00:00+00'), max(m),
                    bit_or(internal.minute_bit(m))
                FROM unnest($1) AS m
                GROUP BY 1
            ) AS marked (hour, minute, minutes)
    $insert$, p_target) USING p_minutes, v_metrics;
END
$function$;
COMMENT ON FUNCTION internal.mark_samples IS
    'Marks each of these minutes, of samples written in this transaction, for the metrics of p_series; null is all metrics';

DO $create$
DECLARE
    v_target text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        EXECUTE replace($template$

CREATE OR REPLACE VIEW @target@.mark AS
SELECT hour, minute, metric_id,
    coalesce(
        minutes,
        CASE WHEN minute IS NULL THEN (1::bigint << 60) - 1 ELSE internal.minute_bit(minute) END
    ) AS minutes
FROM @target@.rollup_mark;
COMMENT ON VIEW @target@.mark IS 'Marks of every version in the words of this one; minute is the newest, null is the whole hour';

CREATE OR REPLACE FUNCTION @target@.marks_of(
    p_metrics int[], p_from timestamptz, p_to timestamptz
)
RETURNS TABLE (metric_id int, hour timestamptz, minutes bigint)
LANGUAGE sql
STABLE
AS $function$
    SELECT marked.metric_id, marked.hour, bit_or(marked.minutes)
    FROM (
        SELECT k.metric_id, k.hour, k.minutes
        FROM @target@.mark AS k
        WHERE k.metric_id = ANY (p_metrics) AND k.hour >= p_from AND k.hour < p_to
        UNION ALL
        SELECT each.metric_id, of_all.hour, of_all.minutes
        FROM unnest(p_metrics) AS each (metric_id),
            (
                SELECT k.hour, bit_or(k.minutes)
                FROM @target@.mark AS k
                WHERE k.metric_id IS NULL AND k.hour >= p_from AND k.hour < p_to
                GROUP BY 1
            ) AS of_all (hour, minutes)
    ) AS marked
    GROUP BY 1, 2
$function$;
COMMENT ON FUNCTION @target@.marks_of IS
    'Which hours of these metrics are live, from p_from to before p_to, and by which minutes';

        $template$, '@target@', v_target);
    END LOOP;
END
$create$;

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
