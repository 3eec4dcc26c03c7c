-- For each row of internal.coarser_width: hours from minutes, and days from hours, which are the same
-- statement with other names. Arguments are those of store_minutes.

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
        SELECT DISTINCT k.metric_id, date_bin('@step@', k.hour, @origin@) AS bucket
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
            ON k.bucket = date_bin('@step@', r.bucket, @origin@)
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
