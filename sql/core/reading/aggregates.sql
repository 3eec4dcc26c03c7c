-- Aggregates of any metric, by bucket.

CREATE OR REPLACE FUNCTION api.get_agg_metric(
    p_metric_name text, p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT m.bucket, internal.decimal_text(m.value)
    FROM internal.metric_maxima(
        ARRAY[p_schema], ARRAY[lower(p_metric_name COLLATE "C")], p_interval, p_from, p_to
    ) AS m
    ORDER BY m.bucket DESC
$$;

COMMENT ON FUNCTION api.get_agg_metric(text, text, interval, timestamptz, timestamptz) IS
'Largest value of a metric in each bucket of time, newest first.

The value is the largest exact value if the bucket has one, else the largest value, as decimal text
in the unit of the metric; infinities are "Infinity" and "-Infinity", NaN and stale markers do not
count. Metrics of target "internal"; p_metric_name in any case, p_schema is the schema that routing
gave them, "common" unless a rule says otherwise. Measures that applications pushed under this name count
like samples.

Samples with p_from <= time < p_to count. p_interval is any positive interval, of months and years
or of days and smaller units. Buckets are counted in UTC from Monday 2000-01-03 (months from
2000-01-01); timestamp is the start of a bucket, and a bucket without samples has no row.

Example: get_agg_metric(''up'', ''common'', ''1 hour'', ''2026-01-01T00:00Z'', ''2026-01-02T00:00Z'')';

-- Sum of everything before p_before; 0 where there is nothing.
CREATE OR REPLACE FUNCTION internal.cumsum_before(
    p_schema text, p_name text, p_before timestamptz
) RETURNS numeric
LANGUAGE sql STABLE STRICT
AS $$
    SELECT coalesce(sum(part.sum), 0)
    FROM internal.metric_parts(
        'cumsum', ARRAY[p_schema], ARRAY[p_name], '1 day', '-infinity', p_before
    ) AS part
$$;

CREATE OR REPLACE FUNCTION internal.cumsum_running(
    p_schema text, p_name text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (bucket timestamptz, total numeric)
LANGUAGE sql STABLE STRICT
AS $$
    SELECT part.bucket,
           (SELECT internal.cumsum_before(p_schema, p_name, p_from))  -- once, not once a row
           + coalesce(sum(sum(part.sum)) OVER (ORDER BY part.bucket), 0)
    FROM internal.metric_parts(
        'cumsum', ARRAY[p_schema], ARRAY[p_name], p_interval, p_from, p_to
    ) AS part
    GROUP BY part.bucket
$$;

CREATE OR REPLACE FUNCTION api.get_agg_cumsum_metric(
    p_metric_name text, p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT r.bucket, internal.decimal_text(r.total)
    FROM internal.cumsum_running(
        p_schema, lower(p_metric_name COLLATE "C"), p_interval, p_from, p_to
    ) AS r
    ORDER BY r.bucket
$$;

COMMENT ON FUNCTION api.get_agg_cumsum_metric(text, text, interval, timestamptz, timestamptz) IS
'Running total of a cumulative metric at the end of each bucket of time, oldest first.

The total is everything before p_from plus the increments of the buckets so far, an exact decimal as
text, in the unit of the metric. Infinities, NaN and stale markers add nothing. Metrics of target
"cumsum", whose samples are increments; p_schema is "cumsum" unless a routing rule says otherwise.
Measures that applications pushed under this name count like samples, as long as they are kept.

Samples with p_from <= time < p_to count. p_interval is any positive interval, of months and years
or of days and smaller units. Buckets are counted in UTC from Monday 2000-01-03 (months from
2000-01-01); timestamp is the start of a bucket, and a bucket without samples has no row.

Example: get_agg_cumsum_metric(''web_requests'', ''cumsum'', ''1 day'', ''2026-01-01T00:00Z'', ''2026-02-01T00:00Z'')';
