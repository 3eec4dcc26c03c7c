-- Rollups of engine postgres, for the targets internal and cumsum (@target@ below).
--
-- A bucket with a mark in it is live: whoever reads it computes it. All other buckets are stored.
-- parts_1m, parts_1h and parts_1d put the two together; the worker turns live ones into stored ones.
--
--   sample ──live_1m──► parts_1m ──live_1h──► parts_1h ──live_1d──► parts_1d
--      └─────worker────► stored_1m ──worker──► stored_1h ──worker──► stored_1d
--
-- Values are computed by functions, not by joins: planning a query over hundreds of partitions
-- costs more than the query, and a function is planned for the one partition that it needs.

DO $create$
DECLARE
    v_target text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        EXECUTE replace($template$

CREATE OR REPLACE FUNCTION @target@.live_1m(p_metric_id int, p_bucket timestamptz)
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
    -- As variables they are constants to the planner, which then sees one partition.
    v_end    timestamptz := p_bucket + interval '1 minute';
    v_series bigint[] := ARRAY(
        SELECT series_id FROM internal.series WHERE metric_id = p_metric_id);
BEGIN
    RETURN QUERY
    SELECT p_metric_id, p_bucket, count(*),
        sum(coalesce(exact, CASE WHEN abs(value) < 'Infinity' THEN value::text::numeric END)),
        min(value), max(value),
        max(ARRAY[date_part('epoch', time - '2000-01-03 00:00+00'), series_id, value]),
        max(exact),
        max(ARRAY[date_part('epoch', time - '2000-01-03 00:00+00')::numeric, series_id, exact])
            FILTER (WHERE exact IS NOT NULL)
    FROM @target@.sample
    WHERE series_id = ANY (v_series) AND time >= p_bucket AND time < v_end AND value <> 'NaN'
    HAVING count(*) > 0;
END
$function$;
COMMENT ON FUNCTION @target@.live_1m IS
    'Rollup of one metric''s minute from raw samples; no row if it has none but NaN';

CREATE OR REPLACE VIEW @target@.parts_1m AS
SELECT r.bucket, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM internal.metric m
JOIN @target@.stored_1m r USING (metric_id)
WHERE NOT EXISTS (SELECT FROM @target@.rollup_mark k WHERE k.minute = r.bucket)
UNION ALL
SELECT k.minute, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM (SELECT DISTINCT minute FROM @target@.rollup_mark) k
CROSS JOIN internal.metric m
CROSS JOIN LATERAL @target@.live_1m(m.metric_id, k.minute) r
WHERE m.target = '@target@';
COMMENT ON VIEW @target@.parts_1m IS 'Stored and live minutes, as parts that combine to hours';

        $template$, '@target@', v_target);
    END LOOP;
END
$create$;

-- Hours from minutes, and days from hours, are the same statements with other names.
DO $create$
DECLARE
    v_target text;
    v_step   record;
    v_sql    text;
BEGIN
    FOR v_step IN
        SELECT * FROM (VALUES (1, '1m', '1h', '1 hour'), (2, '1h', '1d', '1 day'))
            AS step (position, source, width, step)
        ORDER BY position
    LOOP
        FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
            v_sql := $template$

CREATE OR REPLACE FUNCTION @target@.live_@width@(p_metric_id int, p_bucket timestamptz)
RETURNS SETOF internal.stored_1m
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_end timestamptz := p_bucket + interval '@step@';
BEGIN
    RETURN QUERY
    SELECT p_metric_id, p_bucket, sum(samples)::bigint, sum(sum), min(min), max(max),
        max(last_key), max(exact_max), max(exact_last_key)
    FROM @target@.parts_@source@
    WHERE metric_id = p_metric_id AND bucket >= p_bucket AND bucket < v_end
    HAVING count(*) > 0;
END
$function$;
COMMENT ON FUNCTION @target@.live_@width@ IS 'Rollup of one metric''s bucket from its parts';

CREATE OR REPLACE VIEW @target@.parts_@width@ AS
SELECT r.bucket, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM internal.metric m
JOIN @target@.stored_@width@ r USING (metric_id)
WHERE NOT EXISTS (
    SELECT FROM @target@.rollup_mark k
    WHERE date_bin('@step@', k.minute, '2000-01-03 00:00+00') = r.bucket
)
UNION ALL
SELECT k.bucket, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM (
    SELECT DISTINCT date_bin('@step@', minute, '2000-01-03 00:00+00') AS bucket
    FROM @target@.rollup_mark
) k
CROSS JOIN internal.metric m
CROSS JOIN LATERAL @target@.live_@width@(m.metric_id, k.bucket) r
WHERE m.target = '@target@';
COMMENT ON VIEW @target@.parts_@width@ IS 'Stored and live buckets, as parts that combine further';

            $template$;
            v_sql := replace(v_sql, '@source@', v_step.source);
            v_sql := replace(v_sql, '@width@', v_step.width);
            v_sql := replace(v_sql, '@step@', v_step.step);
            EXECUTE replace(v_sql, '@target@', v_target);
        END LOOP;
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
