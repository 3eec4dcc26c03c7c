-- The worker of engine postgres: turns live buckets into stored ones, a bounded piece at a time.
--
-- Parallel arrays p_metrics, p_hours (and p_minutes) say what to recompute, hours of one day; null
-- instead of p_metrics is all metrics.

DO $create$
DECLARE
    v_target text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        EXECUTE replace($template$

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
            AND k.hour = date_bin('1 hour', old.bucket, '2000-01-03 00:00+00')
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

        $template$, '@target@', v_target);
    END LOOP;
END
$create$;

-- Hours from minutes, and days from hours, are the same statement with other names.
DO $create$
DECLARE
    v_target text;
    v_step   record;
    v_sql    text;
BEGIN
    FOR v_step IN
        SELECT * FROM (VALUES ('1m', '1h', '1 hour'), ('1h', '1d', '24 hours'))
            AS step (source, width, step)
    LOOP
        FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
            v_sql := $template$

CREATE OR REPLACE FUNCTION @target@.store_@width@(p_metrics int[], p_hours timestamptz[])
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_nestloop = off
AS $function$
DECLARE
    v_metrics int[];
    v_buckets timestamptz[];
    v_from    timestamptz;
    v_to      timestamptz;
BEGIN
    -- A metric's bucket with marks left is live for every reader, and its last mark will bring us
    -- back to it: one of its own for it alone, one of all metrics for all of them.
    SELECT array_agg(metric_id), array_agg(bucket), min(bucket), max(bucket) + interval '@step@'
    INTO v_metrics, v_buckets, v_from, v_to
    FROM (
        SELECT DISTINCT k.metric_id, date_bin('@step@', k.hour, '2000-01-03 00:00+00') AS bucket
        FROM unnest(p_metrics, p_hours) AS k (metric_id, hour)
    ) AS touched
    WHERE NOT EXISTS (
            SELECT FROM @target@.rollup_mark AS k
            WHERE k.metric_id IS NULL
                AND k.hour >= touched.bucket AND k.hour < touched.bucket + interval '@step@')
        AND NOT EXISTS (
            SELECT FROM @target@.rollup_mark AS k
            WHERE k.metric_id = touched.metric_id
                AND k.hour >= touched.bucket AND k.hour < touched.bucket + interval '@step@');
    IF v_buckets IS NULL THEN
        RETURN;
    END IF;

    WITH fresh AS MATERIALIZED (
        SELECT r.metric_id, k.bucket, sum(r.samples)::bigint AS samples, sum(r.sum), min(r.min),
            max(r.max), max(r.last_key) AS last_key, max(r.exact_max) AS exact_max,
            max(r.exact_last_key) AS exact_last_key
        FROM @target@.stored_@source@ AS r
        JOIN unnest(v_metrics, v_buckets) AS k (metric_id, bucket)
            ON k.bucket = date_bin('@step@', r.bucket, '2000-01-03 00:00+00')
            AND (p_metrics IS NULL OR k.metric_id = r.metric_id)
        WHERE r.bucket >= v_from AND r.bucket < v_to
            AND (p_metrics IS NULL OR r.metric_id = ANY (v_metrics))
        GROUP BY 1, 2
    ),
    gone AS (
        DELETE FROM @target@.stored_@width@ AS old
        USING unnest(v_metrics, v_buckets) AS k (metric_id, bucket)
        WHERE old.bucket >= v_from AND old.bucket < v_to AND old.bucket = k.bucket
            AND (p_metrics IS NULL OR old.metric_id = ANY (v_metrics))
            AND (p_metrics IS NULL OR old.metric_id = k.metric_id)
            AND NOT EXISTS (
                SELECT FROM fresh
                WHERE (fresh.metric_id, fresh.bucket) = (old.metric_id, old.bucket))
    )
    INSERT INTO @target@.stored_@width@
    SELECT * FROM fresh
    ON CONFLICT (metric_id, bucket) DO UPDATE SET
        (samples, sum, min, max, last_key, exact_max, exact_last_key)
        = (excluded.samples, excluded.sum, excluded.min, excluded.max, excluded.last_key,
           excluded.exact_max, excluded.exact_last_key);
END
$function$;
COMMENT ON FUNCTION @target@.store_@width@ IS
    'Recomputes, from stored parts, the buckets of these hours that hold no mark any more';

            $template$;
            v_sql := replace(v_sql, '@source@', v_step.source);
            v_sql := replace(v_sql, '@width@', v_step.width);
            v_sql := replace(v_sql, '@step@', v_step.step);
            EXECUTE replace(v_sql, '@target@', v_target);
        END LOOP;
    END LOOP;
END
$create$;

DO $create$
DECLARE
    v_target text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        EXECUTE replace($template$

CREATE OR REPLACE FUNCTION @target@.rollup_round(
    p_window interval, p_before timestamptz, p_below timestamptz,
    OUT marks int, OUT oldest timestamptz
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_dropped_before timestamptz;
    v_taken          record;
    v_day            record;
BEGIN
    -- Whoever holds this row is the only worker. Statements after it see all that the worker
    -- before us committed, so that its results are never overwritten by older ones. (Not FOR
    -- UPDATE: the foreign key of every new metric would wait until we are done.)
    SELECT dropped_before INTO v_dropped_before
    FROM internal.target WHERE target = '@target@'
    FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        marks := 0;
        RETURN;
    END IF;

    SELECT * INTO v_taken FROM @target@.take_marks(p_window, p_before, p_below);
    -- (An engine on several machines would wait here for the writers whose marks it took.)

    FOR v_day IN
        SELECT array_agg(k.metric_id) FILTER (WHERE k.metric_id IS NOT NULL) AS metrics,
            array_agg(k.hour) AS hours, array_agg(k.minutes) AS minutes
        FROM unnest(v_taken.metrics, v_taken.hours, v_taken.minutes)
            AS k (metric_id, hour, minutes)
        WHERE k.hour >= v_dropped_before  -- where raw samples are gone, what is stored must stay
        GROUP BY date_bin('24 hours', k.hour, '2000-01-03 00:00+00'), k.metric_id IS NULL
    LOOP
        PERFORM @target@.store_minutes(v_day.metrics, v_day.hours, v_day.minutes);
        PERFORM @target@.store_1h(v_day.metrics, v_day.hours);
        PERFORM @target@.store_1d(v_day.metrics, v_day.hours);
    END LOOP;
    marks := v_taken.marks;
    oldest := v_taken.oldest;
END
$function$;
COMMENT ON FUNCTION @target@.rollup_round IS
    'Stores rollups of the newest marked hours before p_below, p_window of them, up to p_before: how many marks that consumed, 0 when idle or when another worker is at it, and the oldest hour of them';

CREATE OR REPLACE FUNCTION @target@.rollup_work(
    p_window interval DEFAULT '1 hour', p_before timestamptz DEFAULT now() - interval '70 s'
)
RETURNS int
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT marks FROM @target@.rollup_round(p_window, p_before, NULL)
$function$;
COMMENT ON FUNCTION @target@.rollup_work IS
    'rollup_round of the newest marked hours of all; returns how many marks that consumed';

CREATE OR REPLACE FUNCTION @target@.mark_period(p_from timestamptz, p_to timestamptz)
RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_marked int;
BEGIN
    INSERT INTO @target@.rollup_mark (hour)
    SELECT date_bin('1 hour', time, '2000-01-03 00:00+00') FROM @target@.sample
    WHERE time >= p_from AND time < p_to
    UNION
    SELECT date_bin('1 hour', bucket, '2000-01-03 00:00+00') FROM @target@.stored_1m
    WHERE bucket >= p_from AND bucket < p_to
        AND bucket >= (SELECT dropped_before FROM internal.target WHERE target = '@target@');
    GET DIAGNOSTICS v_marked = ROW_COUNT;
    RETURN v_marked;
END
$function$;
COMMENT ON FUNCTION @target@.mark_period IS
    'Marks every hour of a period that has samples or a rollup, so that the worker recomputes it';

CREATE OR REPLACE FUNCTION @target@.has_work(p_from timestamptz, p_to timestamptz)
RETURNS boolean
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT EXISTS (
        SELECT FROM @target@.rollup_mark
        WHERE hour >= p_from AND hour < p_to
            AND (minute IS NULL OR minute < now() - interval '70 s')
    )
$function$;
COMMENT ON FUNCTION @target@.has_work IS
    'Whether the worker still has something to store in a period of whole hours';

CREATE OR REPLACE FUNCTION @target@.drop_expired_minutes(p_limit int DEFAULT 20000)
RETURNS int
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH dropped AS (
        DELETE FROM @target@.stored_1m
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM @target@.stored_1m
            WHERE bucket < (SELECT dropped_before FROM internal.target WHERE target = '@target@')
            LIMIT p_limit
        ))
        RETURNING 1
    )
    SELECT count(*)::int FROM dropped
$function$;
COMMENT ON FUNCTION @target@.drop_expired_minutes IS
    'Deletes up to p_limit minutes whose raw samples were dropped; hours and days stay';

        $template$, '@target@', v_target);
    END LOOP;
END
$create$;
