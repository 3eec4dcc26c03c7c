-- For each row of internal.rolled_up: what of a target's rollups is computed when it is read.
--
-- A metric's bucket with a mark in it is live: whoever reads it computes it. All other buckets are
-- stored. parts_1m, parts_1h and parts_1d put the two together, and so do rollup_1m_between and its
-- like, which know the period that is wanted; the worker turns live ones into stored ones.
--
--   sample ───live───► marked minutes ─┐
--   minutes_between ──► other minutes of marked hours ─┤ live hours
--   stored_1h ────────► other hours of marked days ─┤ live days
--
-- Live values come from a function, not from joins: planning a query over hundreds of partitions
-- costs more than the query, and the function is planned for one day's partition at a time, which
-- it reads once, for all buckets and metrics that are live there.

CREATE OR REPLACE FUNCTION @target@.parts_between(p_from timestamptz, p_to timestamptz)
RETURNS TABLE (
    "time" timestamptz, series_id bigint, value float8, exact numeric,
    "decimal" numeric, last_key float8[], exact_last_key numeric[]
)
LANGUAGE sql
STABLE
AS $function$
    SELECT x.time, x.series_id, x.value, x.exact,
        coalesce(
            x.exact, CASE WHEN abs(x.value) < 'Infinity' THEN x.value::text::numeric END),
        ARRAY[date_part('epoch', x.time - @origin@), x.series_id, x.value],
        CASE WHEN x.exact IS NOT NULL THEN
            ARRAY[extract(epoch FROM x.time - @origin@), x.series_id, x.exact]
        END
    FROM @target@.samples_between(p_from, p_to) AS x
    WHERE x.value <> 'NaN'
$function$;
COMMENT ON FUNCTION @target@.parts_between IS
    'What a sample with p_from <= time < p_to is to an aggregate, see migration 0002: NaN enters none, infinities no sum';

CREATE OR REPLACE FUNCTION @target@.raw_parts(
    p_width interval, p_metrics int[], p_hours timestamptz[], p_minutes bigint[],
    p_from timestamptz DEFAULT '-infinity', p_to timestamptz DEFAULT 'infinity'
)
RETURNS SETOF internal.stored_1m
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
ROWS 1000
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET extra_float_digits = 1
-- New partitions have no statistics, and nobody knows how many samples a minute has. A look-up a
-- sample, or sorting them, is what many samples cannot afford; for few it makes no difference.
SET enable_nestloop = off
SET enable_sort = off
SET work_mem = '32MB'
SET max_parallel_workers_per_gather = 0
AS $function$
DECLARE
    v_series bigint[];
    v_lo     timestamptz;
    v_hi     timestamptz;
BEGIN
    SELECT greatest(lo, p_from), least(hi, p_to) INTO v_lo, v_hi
    FROM internal.marked_period(p_hours, p_minutes);
    IF p_metrics IS NOT NULL THEN
        v_series := ARRAY(
            SELECT series_id FROM internal.series WHERE metric_id = ANY (p_metrics));
    END IF;
    RETURN QUERY
    SELECT s.metric_id, date_bin(p_width, x.time, @origin@), count(*),
        sum(x.decimal), min(x.value), max(x.value), max(x.last_key), max(x.exact),
        max(x.exact_last_key)
    FROM @target@.parts_between(v_lo, v_hi) AS x
    JOIN internal.series AS s USING (series_id)
    JOIN unnest(p_metrics, p_hours, p_minutes) AS k (metric_id, hour, minutes)
        ON k.hour = date_bin('1 hour', x.time, @origin@)
        AND (p_metrics IS NULL OR k.metric_id = s.metric_id)
        AND k.minutes & internal.minute_bit(
            date_bin('1 minute', x.time, @origin@)) <> 0
    WHERE p_metrics IS NULL
        OR x.series_id = ANY (v_series) AND s.series_id = ANY (v_series)
    GROUP BY 1, 2;
END
$function$;
COMMENT ON FUNCTION @target@.raw_parts IS
    'Aggregates of raw samples in marked minutes, from p_from to before p_to: the parallel arrays say which metric (null instead of the array: all), hour and minutes, hours of one day';

CREATE OR REPLACE FUNCTION @target@.live(
    p_width interval, p_metrics int[], p_from timestamptz, p_to timestamptz
)
RETURNS SETOF internal.stored_1m
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
ROWS 100
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_day record;
BEGIN
    -- Views call it with the rights of whoever reads them, so a reader may call it as well.
    IF NOT internal.may_see(p_metrics) THEN
        RETURN;
    END IF;
    FOR v_day IN
        SELECT date_bin('24 hours', k.hour, @origin@) AS start,
            array_agg(k.metric_id) AS metrics, array_agg(k.hour) AS hours,
            array_agg(k.minutes) AS minutes
        FROM @target@.marks_of(
            p_metrics, date_bin('1 hour', p_from, @origin@), p_to) AS k
        GROUP BY 1
    LOOP
        RETURN QUERY
        SELECT part.metric_id, part.bucket, sum(part.samples)::bigint, sum(part.sum),
            min(part.min), max(part.max), max(part.last_key), max(part.exact_max),
            max(part.exact_last_key)
        FROM (
            SELECT * FROM @target@.raw_parts(
                p_width, v_day.metrics, v_day.hours, v_day.minutes, p_from, p_to)
            UNION ALL
            SELECT r.metric_id, date_bin(p_width, r.bucket, @origin@), r.samples,
                r.sum, r.min, r.max, r.last_key, r.exact_max, r.exact_last_key
            FROM @target@.minutes_between(v_day.start, v_day.start + interval '24 hours') AS r
            JOIN unnest(v_day.metrics, v_day.hours, v_day.minutes) AS k (metric_id, hour, minutes)
                ON k.metric_id = r.metric_id
                AND k.hour = date_bin('1 hour', r.bucket, @origin@)
                AND k.minutes & internal.minute_bit(r.bucket) = 0
            WHERE p_width > '1 minute' AND r.metric_id = ANY (v_day.metrics)
            UNION ALL
            SELECT r.metric_id, v_day.start, r.samples, r.sum, r.min, r.max, r.last_key,
                r.exact_max, r.exact_last_key
            FROM @target@.stored_1h AS r
            WHERE p_width > '1 hour' AND r.metric_id = ANY (v_day.metrics)
                AND r.bucket >= v_day.start AND r.bucket < v_day.start + interval '24 hours'
                AND NOT EXISTS (
                    SELECT FROM unnest(v_day.metrics, v_day.hours) AS k (metric_id, hour)
                    WHERE (k.metric_id, k.hour) = (r.metric_id, r.bucket))
        ) AS part (metric_id, bucket, samples, sum, min, max, last_key, exact_max, exact_last_key)
        GROUP BY 1, 2;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION @target@.live IS
    'Live buckets of some metrics, from raw samples of marked minutes and stored parts of all else; p_width is 1 minute, 1 hour or 24 hours, p_from and p_to are starts of such buckets';

CREATE OR REPLACE VIEW @target@.live_day AS
SELECT m.metric_id, m.tenant_id, m.schema, m.name, k.day
FROM internal.metric AS m
CROSS JOIN LATERAL (
    SELECT date_bin('24 hours', hour, @origin@) AS day
    FROM @target@.rollup_mark WHERE metric_id = m.metric_id
    UNION
    SELECT date_bin('24 hours', hour, @origin@)
    FROM @target@.rollup_mark WHERE metric_id IS NULL
) AS k
WHERE m.target = '@target@';
COMMENT ON VIEW @target@.live_day IS 'Days in UTC of each metric that have a mark in them';

GRANT EXECUTE ON FUNCTION @target@.live(interval, int[], timestamptz, timestamptz) TO sql_reader;

-- What the views of earlier versions called.
DROP FUNCTION IF EXISTS @target@.live_1d(int, timestamptz);
DROP FUNCTION IF EXISTS @target@.live_1h(int, timestamptz);
DROP FUNCTION IF EXISTS @target@.live_samples(
    int, timestamptz, timestamptz, timestamptz, timestamptz[]);
