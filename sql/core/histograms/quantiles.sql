-- Native histograms of a bucket of time, put together: their quantiles, counts and sums.
--
-- A place says which bucket of a histogram is meant: its index, or with custom bounds (schema -53)
-- its upper bound. side is -1 and 1 for the two sides, 0 for the zero bucket; custom buckets are 1.

CREATE OR REPLACE FUNCTION internal.histogram_quantiles(
    p_quantile float8, p_series bigint[], p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (bucket timestamptz, value float8)
LANGUAGE plpgsql STABLE STRICT
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    PERFORM internal.check_interval(p_interval);
    IF NOT p_quantile BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'p_quantile must be from 0 to 1, not %', p_quantile
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    WITH ends AS MATERIALIZED (
        SELECT * FROM internal.histogram_ends(p_series, p_interval, p_from, p_to)
    ),
    signed_heads AS (
        SELECT b.bucket, h.schema, h.custom_bounds, h.widest, h.narrowest, b.sign * h.count AS count
        FROM (
            SELECT plus, minus, schema, custom_bounds, max(zero_threshold) AS widest,
                min(zero_threshold) AS narrowest, sum(count) AS count
            FROM ends
            GROUP BY plus, minus, schema, custom_bounds
        ) AS h
        CROSS JOIN LATERAL (VALUES (h.plus, 1), (h.minus, -1)) AS b (bucket, sign)
        WHERE b.bucket IS NOT NULL
    ),
    -- Exponential and custom buckets cannot be put together: there is no quantile to tell.
    scale AS (
        SELECT bucket, min(schema) AS schema, max(widest) AS threshold,
            max(widest) > min(narrowest) AS is_widened, sum(count) AS count
        FROM signed_heads
        GROUP BY bucket
        HAVING sum(count) > 0 AND (min(schema) <> -53 OR max(schema) = -53)
    ),
    -- Custom bounds that all histograms of the bucket have.
    common AS (
        SELECT bucket, array_agg(bound ORDER BY bound) AS bounds
        FROM (
            SELECT d.bucket, bound
            FROM (
                SELECT bucket, custom_bounds, count(*) OVER (PARTITION BY bucket) AS kinds
                FROM signed_heads
                WHERE schema = -53
                GROUP BY bucket, custom_bounds
            ) AS d
            CROSS JOIN LATERAL unnest(d.custom_bounds) AS bound
            GROUP BY d.bucket, bound, d.kinds
            HAVING count(*) = d.kinds
        ) AS shared
        GROUP BY bucket
    ),
    -- Everything is added up here, once for both signs: this is what takes the time.
    counted AS (
        SELECT plus, minus, schema, is_float, custom_bounds, 1 AS side, i, sum(n) AS n
        FROM (
            SELECT plus, minus, schema, is_float, custom_bounds,
                unnest(positive_indexes) AS i, unnest(positive_counts) AS n
            FROM ends
        ) AS positive
        WHERE n > 0 AND n < 'Infinity'
        GROUP BY plus, minus, schema, is_float, custom_bounds, i
        UNION ALL
        SELECT plus, minus, schema, is_float, custom_bounds, -1, i, sum(n)
        FROM (
            SELECT plus, minus, schema, is_float, custom_bounds,
                unnest(negative_indexes) AS i, unnest(negative_counts) AS n
            FROM ends
        ) AS negative
        WHERE n > 0 AND n < 'Infinity'
        GROUP BY plus, minus, schema, is_float, custom_bounds, i
        UNION ALL
        SELECT plus, minus, schema, is_float, NULL, 0, 0, sum(zero_count)
        FROM ends
        WHERE zero_count > 0 AND zero_count < 'Infinity'
        GROUP BY plus, minus, schema, is_float
    ),
    pieces AS (
        SELECT plus, minus, schema, side, n, CASE WHEN is_float THEN n ELSE 0 END AS inexact,
            CASE WHEN schema = -53 THEN coalesce(custom_bounds[i + 1], 'Infinity') ELSE i END
                AS place
        FROM counted
    ),
    -- At the coarsest schema; where zero thresholds differ, the widest swallows what begins in it.
    merged AS (
        SELECT m.bucket, m.side, m.place, max(m.reach) AS reach, sum(m.n) AS n
        FROM (
            SELECT bucket, n, inexact,
                CASE WHEN is_swallowed THEN 0 ELSE side END AS side,
                CASE WHEN is_swallowed THEN 0 ELSE place END AS place,
                CASE WHEN is_swallowed THEN internal.histogram_bound(schema, place) END AS reach
            FROM (
                SELECT b.bucket, s.schema, p.side, c.place, b.sign * p.n AS n, p.inexact,
                    s.is_widened AND p.side <> 0
                        AND internal.histogram_bound(s.schema, c.place - 1) < s.threshold
                        AS is_swallowed
                FROM pieces AS p
                CROSS JOIN LATERAL (VALUES (p.plus, 1), (p.minus, -1)) AS b (bucket, sign)
                JOIN scale AS s ON s.bucket = b.bucket
                LEFT JOIN common ON common.bucket = b.bucket
                CROSS JOIN LATERAL (
                    SELECT CASE
                        WHEN p.side = 0 THEN 0
                        WHEN p.schema = -53 THEN coalesce(
                            (SELECT min(u) FROM unnest(common.bounds) AS u WHERE u >= p.place),
                            'Infinity')
                        ELSE ((p.place::bigint - 1) >> (p.schema - s.schema)) + 1
                    END AS place
                ) AS c
            ) AS coarse
        ) AS m
        GROUP BY m.bucket, m.side, m.place
        -- What differences of float counts leave behind is no observation.
        HAVING sum(m.n) > 1e-12 * sum(m.inexact)
    ),
    ranked AS (
        SELECT bucket, side, place, n, max(reach) OVER whole AS reach,
            bool_or(side = 1) OVER whole AS has_positive,
            bool_or(side = -1) OVER whole AS has_negative,
            sum(n) OVER (whole ORDER BY side, side * place) AS up_to
        FROM merged
        WINDOW whole AS (PARTITION BY bucket)
    ),
    hit AS (
        SELECT DISTINCT ON (r.bucket) r.*, s.schema, common.bounds,
            greatest(s.threshold, r.reach) AS threshold, (t.rank - (r.up_to - r.n)) / r.n AS fraction
        FROM (SELECT *, max(up_to) OVER (PARTITION BY bucket) AS total FROM ranked) AS r
        JOIN scale AS s USING (bucket)
        LEFT JOIN common USING (bucket)
        -- Observations that are NaN are in no bucket: a rank among them has no row. Rounding is none.
        CROSS JOIN LATERAL (
            SELECT CASE WHEN p_quantile * s.count <= r.total * (1 + 1e-9)
                THEN least(p_quantile * s.count, r.total) END AS rank
        ) AS t
        WHERE r.up_to >= t.rank
        ORDER BY r.bucket, r.side, r.side * r.place
    )
    SELECT h.bucket, v.value
    FROM hit AS h
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN h.schema = -53 THEN internal.custom_quantile(h.bounds, h.place, h.fraction)
            ELSE internal.exponential_quantile(
                h.schema, h.side, h.place, h.fraction,
                CASE WHEN h.has_positive AND NOT h.has_negative THEN 0 ELSE -h.threshold END,
                CASE WHEN h.has_negative AND NOT h.has_positive THEN 0 ELSE h.threshold END)
        END AS value
    ) AS v
    WHERE v.value IS NOT NULL
    ORDER BY h.bucket;
END
$$;

-- The value at a fraction of bucket p_index: linear in the zero bucket, else as if observations were
-- spread evenly over the logarithm.
CREATE OR REPLACE FUNCTION internal.exponential_quantile(
    p_schema int, p_side int, p_index float8, p_fraction float8,
    p_zero_lower float8, p_zero_upper float8
) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE p_side
        WHEN 0 THEN p_zero_lower + (p_zero_upper - p_zero_lower) * p_fraction
        WHEN 1 THEN internal.power_of_two((p_index - 1 + p_fraction) * power(2::float8, -p_schema))
        ELSE -internal.power_of_two((p_index - p_fraction) * power(2::float8, -p_schema))
    END
$$;

-- The value at a fraction of the bucket up to p_upper; null where there is but one bucket. The lowest
-- begins at 0 or, if it ends there or below, is its upper bound; the highest is its lower bound.
CREATE OR REPLACE FUNCTION internal.custom_quantile(
    p_bounds float8[], p_upper float8, p_fraction float8
) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN p_upper = 'Infinity' THEN lower
        WHEN lower IS NULL AND p_upper <= 0 THEN p_upper
        ELSE coalesce(lower, 0) + (p_upper - coalesce(lower, 0)) * p_fraction
    END
    FROM (SELECT max(b) AS lower FROM unnest(p_bounds) AS b WHERE b < p_upper) AS bucket
$$;

-- Increments of count and sum. A series whose sum is not finite has none of it.
CREATE OR REPLACE FUNCTION internal.histogram_increments(
    p_series bigint[], p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (bucket timestamptz, count numeric, sum numeric)
LANGUAGE plpgsql STABLE STRICT
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    PERFORM internal.check_interval(p_interval);
    RETURN QUERY
    SELECT bucket, sum(count), sum(sum) FILTER (WHERE is_finite)
    FROM (
        SELECT b.bucket,
            sum(b.sign * coalesce(e.exact_count, e.count::text::numeric)) AS count,
            sum(b.sign * CASE WHEN abs(e.sum) < 'Infinity' THEN e.sum::text::numeric END) AS sum,
            bool_and(abs(e.sum) < 'Infinity') AS is_finite
        FROM internal.histogram_ends(p_series, p_interval, p_from, p_to) AS e
        CROSS JOIN LATERAL (VALUES (e.plus, 1), (e.minus, -1)) AS b (bucket, sign)
        WHERE b.bucket IS NOT NULL
        GROUP BY e.series_id, b.bucket
    ) AS by_series
    GROUP BY bucket
    ORDER BY bucket;
END
$$;
