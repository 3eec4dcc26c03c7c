-- Any metric by bucket of time and group of series, and its largest series.

-- The answer of api.query_metric, oldest bucket first.
CREATE OR REPLACE FUNCTION internal.metric_buckets(
    p_metric text, p_match jsonb, p_by text[], p_aggregate text, p_step interval,
    p_from timestamptz, p_to timestamptz, p_fill text, p_timezone text
) RETURNS TABLE (bucket timestamptz, labels jsonb, value numeric)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
    v_aggregate text := coalesce(p_aggregate, 'avg');
    v_fill      text := coalesce(p_fill, 'none');
    v_period    record := internal.asked_period(p_from, p_to);
    v_step      interval := coalesce(p_step, internal.default_step(v_period.p_from, v_period.p_to));
    v_starts    timestamptz[];
BEGIN
    PERFORM internal.check_word('p_aggregate', v_aggregate, internal.value_aggregates());
    PERFORM internal.check_word('p_fill', v_fill, ARRAY['none', 'null', 'previous', 'linear']);
    PERFORM internal.check_interval(v_step, 'p_step');
    v_starts := internal.bucket_starts(
        v_step, v_period.p_from, v_period.p_to, coalesce(p_timezone, 'UTC'));
    RETURN QUERY
    WITH known AS MATERIALIZED (
        SELECT * FROM internal.metric_values(
            p_metric, p_match, coalesce(p_by, '{}'), v_aggregate,
            v_starts, v_period.p_from, v_period.p_to)
    ), answer AS (
        SELECT k.slot, k.grp, k.value FROM known AS k WHERE v_fill = 'none'
        UNION ALL
        SELECT f.slot, f.grp, f.value
        FROM (SELECT array_agg(slot) AS slots, array_agg(grp) AS groups, array_agg(value) AS given
            FROM known) AS k
        CROSS JOIN internal.filled(v_fill, v_starts, k.slots, k.groups, k.given) AS f
        WHERE v_fill <> 'none'
    )
    SELECT v_starts[a.slot], g.labels, a.value
    FROM answer AS a
    JOIN (SELECT DISTINCT grp, labels FROM known) AS g USING (grp)
    ORDER BY a.slot, a.grp;
END
$$;

-- Raises 22023 unless an argument is one of these words.
CREATE OR REPLACE FUNCTION internal.check_word(p_name text, p_word text, p_words text[])
RETURNS void
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
BEGIN
    IF p_word <> ALL (p_words) THEN
        RAISE EXCEPTION '% must be one of %, not "%"', p_name, array_to_string(p_words, ', '), p_word
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION api.query_metric(
    p_metric text DEFAULT NULL, p_match jsonb DEFAULT NULL, p_by text[] DEFAULT '{}',
    p_aggregate text DEFAULT 'avg', p_step interval DEFAULT NULL,
    p_from timestamptz DEFAULT NULL, p_to timestamptz DEFAULT NULL,
    p_fill text DEFAULT 'none', p_timezone text DEFAULT 'UTC'
) RETURNS TABLE ("timestamp" timestamptz, labels jsonb, value text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT b.bucket, b.labels, internal.decimal_text(b.value)
    FROM internal.metric_buckets(
        p_metric, p_match, p_by, p_aggregate, p_step, p_from, p_to, p_fill, p_timezone
    ) AS b
$$;

COMMENT ON FUNCTION
    api.query_metric(
        text, jsonb, text[], text, interval, timestamptz, timestamptz, text, text) IS
'Any metric by bucket of time and group of its series, oldest bucket first.

p_metric is its name in any case, of any schema and target (default: all metrics). p_match has labels
with their values, all of which a series must have; "" is: has no such label. p_by has the labels by
which series are grouped, ''*'' all of them (default: all series are one group). labels are those of the
group, of its labels in p_by.

p_aggregate is what becomes of all samples of a group in a bucket: avg (default), sum, min, max, last,
count, rate, increase, p50, p90, p95, p99. value is an exact decimal as text, in the unit of the metric;
a quotient has 16 digits or more. A sample is its exact value if it has one; min, max and last look at
exact values alone where a bucket has any. NaN and stale markers do not count, infinities count but for
sum, rate and increase; an avg or quantile between both infinities has no value. Quantiles lie on the
line between the two samples next to them.

increase is what counters have gained: of each series what a sample has more than the one before it, at
most 7 days older, in the bucket or not; after a reset (a smaller value) the whole value; nothing of
the first sample of a series. Samples of target "cumsum" are increments and are added up. rate is
increase by the seconds of the bucket that lie between p_from and p_to.

Samples with p_from <= time < p_to count: by default the last hour before p_to, which is now. p_step is
any positive interval, of months and years or of days and smaller units; by default a 200th of the
period, rounded up to whole seconds, minutes, hours or days. Buckets are counted from Monday 2000-01-03
(months from 2000-01-01) in time zone p_timezone (default: UTC). Months and whole days are those of its
calendar, so that a day has 23 to 25 hours; what a day is a multiple of begins anew at each midnight.
timestamp is the start of a bucket. p_fill says what is answered for a bucket without a value, of groups
that have any: none, no row (default), null, the previous value, or one on the line (linear) to the next.

Example: query_metric(''http_requests_total'', ''{"job": "api"}'', ''{instance}'', ''rate'', ''5 minutes'')';

CREATE OR REPLACE FUNCTION api.top_series(
    p_metric text DEFAULT NULL, p_match jsonb DEFAULT NULL, p_by text[] DEFAULT '{*}',
    p_aggregate text DEFAULT 'avg', p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL, p_limit int DEFAULT 10
) RETURNS TABLE (labels jsonb, value text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT v.labels, internal.decimal_text(v.value)
    FROM internal.asked_period(p_from, p_to) AS period
    CROSS JOIN internal.check_word(
        'p_aggregate', coalesce(p_aggregate, 'avg'), internal.value_aggregates())
    CROSS JOIN internal.metric_values(
        p_metric, p_match, coalesce(p_by, '{*}'), coalesce(p_aggregate, 'avg'),
        CASE WHEN period.p_from < period.p_to THEN ARRAY[period.p_from, period.p_to] ELSE '{}' END,
        period.p_from, period.p_to
    ) AS v
    ORDER BY v.value DESC, v.labels
    LIMIT coalesce(p_limit, 10)
$$;

COMMENT ON FUNCTION
    api.top_series(text, jsonb, text[], text, timestamptz, timestamptz, int) IS
'Which series of a metric have the largest value over a period, largest first.

value is p_aggregate (avg by default) of all samples of the period, as query_metric has it for one
bucket; p_metric, p_match, p_from and p_to are as there. p_by is ''*'' unless it is given: each series by
itself, with all its labels. p_limit rows at most, 10 unless it is given.

Example: top_series(''http_requests_total'', ''{"job": "api"}'', ''{instance}'', ''rate'')';

GRANT EXECUTE ON FUNCTION
    api.query_metric(text, jsonb, text[], text, interval, timestamptz, timestamptz, text, text),
    api.top_series(text, jsonb, text[], text, timestamptz, timestamptz, int)
TO web_anon, writer;
