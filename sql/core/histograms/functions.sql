-- What native histograms say of a period, by bucket of time.

CREATE OR REPLACE FUNCTION api.histogram_quantile(
    p_quantile float8, p_metric_name text, p_schema text,
    p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT q.bucket, internal.decimal_text(q.value::text::numeric)
    FROM internal.histogram_quantiles(
        p_quantile, internal.series_of(p_metric_name, p_schema), p_interval, p_from, p_to
    ) AS q
    ORDER BY q.bucket
$$;

COMMENT ON FUNCTION
    api.histogram_quantile(float8, text, text, interval, timestamptz, timestamptz) IS
'Quantile of what a native histogram observed in each bucket of time, oldest first.

p_quantile is from 0 (the smallest observation) to 1 (the largest); another one is an error. All
series of the metric count together, those of different resolution at the coarsest. The value is
estimated within a bucket of the histogram as Prometheus does: linearly in the zero bucket and in
custom buckets, else evenly over the logarithm. A bucket of time without observations, one whose
quantile lies among observations of NaN, and one where exponential and custom buckets meet have no
row.

What came in is the increment between neighbouring histograms of a series, at most 7 days apart: the
last one before a bucket of time counts as the base of the first one in it. After a reset (the sender
says so, or a count has become smaller) the whole histogram counts. The first histogram of a series
has no base: it counts as a whole if it says that it was started within its bucket of time, else not
at all. Gauge histograms are added up as they are. Stale markers do not count.

Histograms with p_from <= time < p_to count. p_interval is any positive interval, of months and years
or of days and smaller units. Buckets are counted in UTC from Monday 2000-01-03 (months from
2000-01-01); timestamp is the start of a bucket.

Example: histogram_quantile(0.99, ''rpc_duration_seconds'', ''common'', ''1 hour'', ''2026-01-01T00:00Z'', ''2026-01-02T00:00Z'')';

CREATE OR REPLACE FUNCTION api.histogram_count(
    p_metric_name text, p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT i.bucket, internal.decimal_text(i.count)
    FROM internal.histogram_increments(
        internal.series_of(p_metric_name, p_schema), p_interval, p_from, p_to
    ) AS i
    ORDER BY i.bucket
$$;

COMMENT ON FUNCTION api.histogram_count(text, text, interval, timestamptz, timestamptz) IS
'Number of observations of a native histogram in each bucket of time, oldest first.

All series of the metric count together; the number is exact. A bucket of time with histograms that
have a base and nothing new has 0, one without such histograms has no row. What counts, and how
buckets of time are made, is said at histogram_quantile.

Example: histogram_count(''rpc_duration_seconds'', ''common'', ''1 hour'', ''2026-01-01T00:00Z'', ''2026-01-02T00:00Z'')';

CREATE OR REPLACE FUNCTION api.histogram_sum(
    p_metric_name text, p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT i.bucket, internal.decimal_text(i.sum)
    FROM internal.histogram_increments(
        internal.series_of(p_metric_name, p_schema), p_interval, p_from, p_to
    ) AS i
    WHERE i.sum IS NOT NULL
    ORDER BY i.bucket
$$;

COMMENT ON FUNCTION api.histogram_sum(text, text, interval, timestamptz, timestamptz) IS
'Sum of the observations of a native histogram in each bucket of time, oldest first.

In the unit of the metric; divided by histogram_count it is the average. All series of the metric
count together, but not those whose sum is no finite number: one observation of NaN or of an infinity
makes it so until the next reset. What counts, and how buckets of time are made, is said at
histogram_quantile.

Example: histogram_sum(''rpc_duration_seconds'', ''common'', ''1 hour'', ''2026-01-01T00:00Z'', ''2026-01-02T00:00Z'')';
