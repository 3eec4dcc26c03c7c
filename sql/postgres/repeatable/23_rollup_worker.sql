-- The worker of engine postgres: turns live buckets into stored ones, a bounded piece at a time.
-- p_metrics is which metrics to recompute; null is all.

DO $create$
DECLARE
    v_target text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        EXECUTE replace($template$

CREATE OR REPLACE FUNCTION @target@.take_marks(
    p_window interval, p_before timestamptz,
    OUT marks int, OUT minutes timestamptz[], OUT metrics int[]
)
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH newest AS (
        SELECT hour FROM @target@.rollup_mark
        WHERE minute IS NULL OR minute < p_before
        ORDER BY hour DESC
        LIMIT 1
    ),
    taken AS (
        DELETE FROM @target@.rollup_mark m USING newest
        WHERE m.hour <= newest.hour AND m.hour > newest.hour - p_window
            AND (m.minute IS NULL OR m.minute < p_before)
        RETURNING m.hour, m.minute, m.metrics
    ),
    touched AS (
        SELECT minute FROM taken WHERE minute IS NOT NULL
        UNION
        SELECT minute
        FROM (SELECT DISTINCT hour FROM taken WHERE minute IS NULL) AS whole,
            generate_series(hour, hour + interval '59 minutes', interval '1 minute') AS minute
    )
    SELECT (SELECT count(*)::int FROM taken), (SELECT array_agg(minute) FROM touched),
        CASE WHEN NOT EXISTS (SELECT FROM taken WHERE taken.metrics IS NULL)
            THEN ARRAY(SELECT DISTINCT unnest(taken.metrics) FROM taken) END
$function$;
COMMENT ON FUNCTION @target@.take_marks IS
    'Deletes the marks of the newest marked hours, leaving minutes from p_before on; says which minutes and metrics they were about';

CREATE OR REPLACE FUNCTION @target@.store_minutes(p_minutes timestamptz[], p_metrics int[])
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET extra_float_digits = 1
AS $function$
DECLARE
    v_from timestamptz;
    v_to   timestamptz;
BEGIN
    SELECT min(minute), max(minute) + interval '1 minute' INTO v_from, v_to
    FROM unnest(p_minutes) AS minute;

    WITH fresh AS (
        SELECT metric_id, date_bin('1 minute', time, '2000-01-03 00:00+00') AS bucket,
            count(*) AS samples,
            sum(coalesce(exact, CASE WHEN abs(value) < 'Infinity' THEN value::text::numeric END)),
            min(value), max(value),
            max(ARRAY[date_part('epoch', time - '2000-01-03 00:00+00'), series_id, value])
                AS last_key,
            max(exact) AS exact_max,
            max(ARRAY[extract(epoch FROM time - '2000-01-03 00:00+00'), series_id, exact])
                FILTER (WHERE exact IS NOT NULL) AS exact_last_key
        FROM @target@.sample
        JOIN internal.series USING (series_id)
        WHERE time >= v_from AND time < v_to AND value <> 'NaN'
            AND date_bin('1 minute', time, '2000-01-03 00:00+00') = ANY (p_minutes)
            AND (p_metrics IS NULL OR metric_id = ANY (p_metrics))
        GROUP BY 1, 2
    ),
    gone AS (
        DELETE FROM @target@.stored_1m AS old
        WHERE bucket >= v_from AND bucket < v_to AND bucket = ANY (p_minutes)
            AND (p_metrics IS NULL OR metric_id = ANY (p_metrics))
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
        SELECT * FROM (VALUES ('1m', '1h', '1 hour'), ('1h', '1d', '1 day'))
            AS step (source, width, step)
    LOOP
        FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
            v_sql := $template$

CREATE OR REPLACE FUNCTION @target@.store_@width@(p_minutes timestamptz[])
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_buckets timestamptz[];
    v_from    timestamptz;
    v_to      timestamptz;
BEGIN
    -- A bucket with marks left is live for every reader: its last mark will bring us back to it.
    -- That one may be about fewer metrics than those before it: all metrics are recomputed.
    SELECT array_agg(bucket), min(bucket), max(bucket) + interval '@step@'
    INTO v_buckets, v_from, v_to
    FROM (
        SELECT DISTINCT date_bin('@step@', minute, '2000-01-03 00:00+00') AS bucket
        FROM unnest(p_minutes) AS minute
    ) AS touched
    WHERE NOT EXISTS (
        SELECT FROM @target@.rollup_mark k
        WHERE k.hour >= touched.bucket AND k.hour < touched.bucket + interval '@step@'
    );
    IF v_buckets IS NULL THEN
        RETURN;
    END IF;

    WITH fresh AS (
        SELECT metric_id, date_bin('@step@', bucket, '2000-01-03 00:00+00') AS bucket,
            sum(samples)::bigint AS samples, sum(sum), min(min), max(max),
            max(last_key) AS last_key, max(exact_max) AS exact_max,
            max(exact_last_key) AS exact_last_key
        FROM @target@.stored_@source@
        WHERE bucket >= v_from AND bucket < v_to
            AND date_bin('@step@', bucket, '2000-01-03 00:00+00') = ANY (v_buckets)
        GROUP BY 1, 2
    ),
    gone AS (
        DELETE FROM @target@.stored_@width@ AS old
        WHERE bucket >= v_from AND bucket < v_to AND bucket = ANY (v_buckets)
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
    'Recomputes, from stored parts, the buckets of these minutes that hold no mark any more';

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

CREATE OR REPLACE FUNCTION @target@.rollup_work(
    p_window interval DEFAULT '1 hour', p_before timestamptz DEFAULT now() - interval '70 s'
)
RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_dropped_before timestamptz;
    v_taken          record;
    v_minutes        timestamptz[];
BEGIN
    -- Whoever holds this row is the only worker. Statements after it see all that the worker
    -- before us committed, so that its results are never overwritten by older ones. (Not FOR
    -- UPDATE: the foreign key of every new metric would wait until we are done.)
    SELECT dropped_before INTO v_dropped_before
    FROM internal.target WHERE target = '@target@'
    FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;

    SELECT * INTO v_taken FROM @target@.take_marks(p_window, p_before);
    -- (An engine on several machines would wait here for the writers whose marks it took.)

    -- Where raw samples are gone, what is stored must stay.
    v_minutes := ARRAY(SELECT m FROM unnest(v_taken.minutes) AS m WHERE m >= v_dropped_before);
    IF cardinality(v_minutes) > 0 THEN
        PERFORM @target@.store_minutes(v_minutes, v_taken.metrics);
        PERFORM @target@.store_1h(v_minutes);
        PERFORM @target@.store_1d(v_minutes);
    END IF;
    RETURN v_taken.marks;
END
$function$;
COMMENT ON FUNCTION @target@.rollup_work IS
    'Stores rollups of the newest marked hours, p_window of them, up to p_before; returns how many marks that consumed, 0 when idle or when another worker is at it';

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
