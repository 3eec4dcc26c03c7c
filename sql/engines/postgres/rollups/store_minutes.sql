-- For each row of internal.rolled_up: the worker's first steps, marks taken and minutes stored.
--
-- Parallel arrays p_metrics, p_hours (and p_minutes) say what to recompute, hours of one day; null
-- instead of p_metrics is all metrics.

-- Those of earlier versions have other arguments.
DROP FUNCTION IF EXISTS @target@.take_marks(interval, timestamptz);
DROP FUNCTION IF EXISTS @target@.store_minutes(timestamptz[], int[]);
DROP FUNCTION IF EXISTS @target@.store_1h(timestamptz[]);
DROP FUNCTION IF EXISTS @target@.store_1d(timestamptz[]);

CREATE OR REPLACE FUNCTION @target@.take_marks(
    p_window interval, p_before timestamptz, p_below timestamptz,
    OUT marks int, OUT oldest timestamptz,
    OUT metrics int[], OUT hours timestamptz[], OUT minutes bigint[]
)
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH newest AS (
        SELECT hour FROM @target@.rollup_mark
        WHERE hour < coalesce(p_below, 'infinity') AND (minute IS NULL OR minute < p_before)
        ORDER BY hour DESC
        LIMIT 1
    ),
    taken AS (
        DELETE FROM @target@.mark AS m USING newest
        WHERE m.hour <= newest.hour AND m.hour > newest.hour - p_window
            AND (m.minute IS NULL OR m.minute < p_before)
        RETURNING m.metric_id, m.hour, m.minutes
    ),
    marked AS (
        SELECT metric_id, hour, bit_or(minutes) AS minutes, count(*) AS marks
        FROM taken GROUP BY 1, 2
    )
    SELECT coalesce(sum(marks), 0)::int, min(hour), array_agg(metric_id), array_agg(hour),
        array_agg(minutes)
    FROM marked
$function$;
COMMENT ON FUNCTION @target@.take_marks IS
    'Deletes the marks of the newest marked hours before p_below (null is none), leaving those with minutes from p_before on; says what they were about, a metric that is null being all';

CREATE OR REPLACE FUNCTION @target@.store_minutes(
    p_metrics int[], p_hours timestamptz[], p_minutes bigint[]
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_nestloop = off  -- nobody knows how many rows are fresh
AS $function$
DECLARE
    v_lo timestamptz;
    v_hi timestamptz;
BEGIN
    SELECT lo, hi INTO v_lo, v_hi FROM internal.marked_period(p_hours, p_minutes);
    PERFORM @target@.unpack_minutes(p_metrics, p_hours);
    IF NOT EXISTS (
        SELECT FROM @target@.stored_1m
        WHERE bucket >= v_lo AND bucket < v_hi
            AND (p_metrics IS NULL OR metric_id = ANY (p_metrics))
    ) THEN
        -- Nearly always, and without ON CONFLICT it costs three quarters.
        INSERT INTO @target@.stored_1m
        SELECT * FROM @target@.raw_parts('1 minute', p_metrics, p_hours, p_minutes);
        RETURN;
    END IF;

    WITH fresh AS MATERIALIZED (
        SELECT * FROM @target@.raw_parts('1 minute', p_metrics, p_hours, p_minutes)
    ),
    gone AS (
        DELETE FROM @target@.stored_1m AS old
        USING unnest(p_metrics, p_hours, p_minutes) AS k (metric_id, hour, minutes)
        WHERE old.bucket >= v_lo AND old.bucket < v_hi
            AND (p_metrics IS NULL OR old.metric_id = ANY (p_metrics))
            AND (p_metrics IS NULL OR old.metric_id = k.metric_id)
            AND k.hour = date_bin('1 hour', old.bucket, @origin@)
            AND k.minutes & internal.minute_bit(old.bucket) <> 0
            AND NOT EXISTS (
                SELECT FROM fresh
                WHERE (fresh.metric_id, fresh.bucket) = (old.metric_id, old.bucket))
    )
    INSERT INTO @target@.stored_1m
    SELECT * FROM fresh
    ON CONFLICT (metric_id, bucket) DO UPDATE SET
        (samples, sum, min, max, last_key, exact_max, exact_last_key)
        = (excluded.samples, excluded.sum, excluded.min, excluded.max, excluded.last_key,
           excluded.exact_max, excluded.exact_last_key);
END
$function$;
COMMENT ON FUNCTION @target@.store_minutes IS 'Recomputes minutes from raw samples';
