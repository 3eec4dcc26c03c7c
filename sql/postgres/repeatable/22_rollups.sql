-- Rollups of engine postgres, for the targets internal and cumsum (@target@ below).
--
-- A bucket with a mark in it is live: whoever reads it computes it. All other buckets are stored.
-- parts_1m, parts_1h and parts_1d put the two together; the worker turns live ones into stored ones.
--
--   sample ──live_1m──► parts_1m    sample + stored_1m ──live_1h──► parts_1h ──live_1d──► parts_1d
--      └─────worker────► stored_1m ─────worker────► stored_1h ────worker────► stored_1d
--
-- Live values come from functions, not from joins: planning a query over hundreds of partitions
-- costs more than the query, and a function is planned for the one partition that it needs.
--
-- last_key and exact_last_key are {seconds since 2000-01-03, series_id, value}, see migration 0002.

DO $create$
DECLARE
    v_target text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        EXECUTE replace($template$

CREATE OR REPLACE FUNCTION @target@.live_samples(
    p_metric_id int, p_bucket timestamptz, p_from timestamptz, p_to timestamptz,
    p_minutes timestamptz[] DEFAULT NULL
)
RETURNS SETOF internal.stored_1m
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET extra_float_digits = 1
AS $function$
DECLARE
    v_series bigint[] := ARRAY(
        SELECT series_id FROM internal.series WHERE metric_id = p_metric_id);
BEGIN
    RETURN QUERY
    SELECT p_metric_id, p_bucket, count(*),
        sum(coalesce(exact, CASE WHEN abs(value) < 'Infinity' THEN value::text::numeric END)),
        min(value), max(value),
        max(ARRAY[date_part('epoch', time - '2000-01-03 00:00+00'), series_id, value]),
        max(exact),
        max(ARRAY[extract(epoch FROM time - '2000-01-03 00:00+00'), series_id, exact])
            FILTER (WHERE exact IS NOT NULL)
    FROM @target@.sample
    WHERE series_id = ANY (v_series) AND time >= p_from AND time < p_to AND value <> 'NaN'
        AND (p_minutes IS NULL
            OR date_bin('1 minute', time, '2000-01-03 00:00+00') = ANY (p_minutes))
    HAVING count(*) > 0;
END
$function$;
COMMENT ON FUNCTION @target@.live_samples IS
    'One metric''s raw samples of a period (of some minutes of it) as one row, labelled p_bucket; no row if there are none but NaN';

CREATE OR REPLACE VIEW @target@.parts_1m AS
SELECT r.bucket, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM internal.metric m
JOIN @target@.stored_1m r USING (metric_id)
WHERE NOT EXISTS (
    SELECT FROM @target@.rollup_mark k
    WHERE k.hour = date_bin('1 hour', r.bucket, '2000-01-03 00:00+00')
        AND (k.minute = r.bucket OR k.minute IS NULL)
)
UNION ALL
SELECT k.minute, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM (
    SELECT minute FROM @target@.rollup_mark WHERE minute IS NOT NULL
    UNION
    SELECT minute
    FROM (SELECT DISTINCT hour FROM @target@.rollup_mark WHERE minute IS NULL) AS whole,
        generate_series(hour, hour + interval '59 minutes', interval '1 minute') AS minute
) k
CROSS JOIN internal.metric m
CROSS JOIN LATERAL @target@.live_samples(
    m.metric_id, k.minute, k.minute, k.minute + interval '1 minute') r
WHERE m.target = '@target@';
COMMENT ON VIEW @target@.parts_1m IS 'Stored and live minutes, as parts that combine to hours';

CREATE OR REPLACE FUNCTION @target@.live_1h(p_metric_id int, p_bucket timestamptz)
RETURNS SETOF internal.stored_1m
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_end   timestamptz := p_bucket + interval '1 hour';
    v_whole boolean;
    v_from  timestamptz;
    v_to    timestamptz;
    v_live  timestamptz[];
BEGIN
    SELECT bool_or(minute IS NULL), array_agg(DISTINCT minute), min(minute),
        max(minute) + interval '1 minute'
    INTO v_whole, v_live, v_from, v_to
    FROM @target@.rollup_mark WHERE hour = p_bucket;

    IF v_whole THEN
        RETURN QUERY SELECT * FROM @target@.live_samples(p_metric_id, p_bucket, p_bucket, v_end);
        RETURN;
    END IF;
    RETURN QUERY
    SELECT p_metric_id, p_bucket, sum(samples)::bigint, sum(sum), min(min), max(max),
        max(last_key), max(exact_max), max(exact_last_key)
    FROM (
        SELECT * FROM @target@.stored_1m
        WHERE metric_id = p_metric_id AND bucket >= p_bucket AND bucket < v_end
            AND bucket <> ALL (v_live)
        UNION ALL
        SELECT * FROM @target@.live_samples(p_metric_id, p_bucket, v_from, v_to, v_live)
    ) AS parts
    HAVING count(*) > 0;
END
$function$;
COMMENT ON FUNCTION @target@.live_1h IS
    'Rollup of one metric''s hour that has marks: stored minutes, and raw samples of marked ones';

CREATE OR REPLACE VIEW @target@.parts_1h AS
SELECT r.bucket, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM internal.metric m
JOIN @target@.stored_1h r USING (metric_id)
WHERE NOT EXISTS (SELECT FROM @target@.rollup_mark k WHERE k.hour = r.bucket)
UNION ALL
SELECT k.hour, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM (SELECT DISTINCT hour FROM @target@.rollup_mark) k
CROSS JOIN internal.metric m
CROSS JOIN LATERAL @target@.live_1h(m.metric_id, k.hour) r
WHERE m.target = '@target@';
COMMENT ON VIEW @target@.parts_1h IS 'Stored and live hours, as parts that combine to days';

CREATE OR REPLACE FUNCTION @target@.live_1d(p_metric_id int, p_bucket timestamptz)
RETURNS SETOF internal.stored_1m
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_end timestamptz := p_bucket + interval '1 day';
BEGIN
    RETURN QUERY
    SELECT p_metric_id, p_bucket, sum(samples)::bigint, sum(sum), min(min), max(max),
        max(last_key), max(exact_max), max(exact_last_key)
    FROM @target@.parts_1h
    WHERE metric_id = p_metric_id AND bucket >= p_bucket AND bucket < v_end
    HAVING count(*) > 0;
END
$function$;
COMMENT ON FUNCTION @target@.live_1d IS 'Rollup of one metric''s day, from stored and live hours';

CREATE OR REPLACE VIEW @target@.parts_1d AS
SELECT r.bucket, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM internal.metric m
JOIN @target@.stored_1d r USING (metric_id)
WHERE NOT EXISTS (
    SELECT FROM @target@.rollup_mark k
    WHERE date_bin('1 day', k.hour, '2000-01-03 00:00+00') = r.bucket
)
UNION ALL
SELECT k.bucket, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM (
    SELECT DISTINCT date_bin('1 day', hour, '2000-01-03 00:00+00') AS bucket
    FROM @target@.rollup_mark
) k
CROSS JOIN internal.metric m
CROSS JOIN LATERAL @target@.live_1d(m.metric_id, k.bucket) r
WHERE m.target = '@target@';
COMMENT ON VIEW @target@.parts_1d IS 'Stored and live days';

        $template$, '@target@', v_target);
    END LOOP;
END
$create$;

-- What readers use.
DO $create$
DECLARE
    v_target text;
    v_width  text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        FOREACH v_width IN ARRAY ARRAY['1m', '1h', '1d'] LOOP
            EXECUTE format($view$
CREATE OR REPLACE VIEW %1$I.rollup_%2$s AS
SELECT bucket, tenant_id, schema, name, samples, sum, min, max, last_key[3] AS last,
    exact_max, exact_last_key[3] AS exact_last
FROM %1$I.parts_%2$s;
COMMENT ON VIEW %1$I.rollup_%2$s IS
    'Aggregates of every committed sample of target %1$s, NaN left out; filter by tenant_id';
            $view$, v_target, v_width);
        END LOOP;
    END LOOP;
END
$create$;
