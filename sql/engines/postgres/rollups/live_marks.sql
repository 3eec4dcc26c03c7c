-- For each row of internal.rolled_up: the marks of a target, and which of its buckets they make live.

CREATE OR REPLACE FUNCTION @target@.add_marks(p_minutes timestamptz[], p_series bigint[])
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    v_metrics int[] := ARRAY[NULL]::int[];
BEGIN
    IF p_series IS NOT NULL THEN
        v_metrics := ARRAY(
            SELECT DISTINCT metric_id FROM internal.series WHERE series_id = ANY (p_series));
    END IF;
    INSERT INTO @target@.rollup_mark (hour, minute, metric_id, minutes)
    SELECT marked.hour, marked.minute, metric_id, marked.minutes
    FROM unnest(v_metrics) AS metric_id, internal.marks_of_minutes(p_minutes) AS marked;
END
$function$;
COMMENT ON FUNCTION @target@.add_marks IS 'What internal.mark_samples does for this target';

CREATE OR REPLACE TRIGGER note_taken_marks
    AFTER DELETE ON @target@.rollup_mark
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION internal.note_taken_marks();
CREATE OR REPLACE TRIGGER note_truncated_marks
    AFTER TRUNCATE ON @target@.rollup_mark
    FOR EACH STATEMENT EXECUTE FUNCTION internal.note_taken_marks();

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
