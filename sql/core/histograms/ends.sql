-- Native histograms of a period: which of them count, and with which sign.
--
-- What came in during a bucket of time is, for each series, the sum of increments between
-- neighbours; all but the ends of a run without a reset cancel out. So only ends are looked into:
--
--     base ──step──► . ──step──► . ║ reset: whole ──step──► .        one series, one bucket
--      -                         +                          +
--
-- The last of one bucket is mostly the base of the next: one row with both, plus and minus.

-- A series that was silent for longer than a week begins anew: a base is looked for in few
-- partitions. In hours, because a day has 23 to 25 of them, by the session's time zone.
CREATE OR REPLACE FUNCTION internal.longest_step() RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT interval '168 hours' $$;

-- A constant for the planner, unlike p_from - interval, and without an error for infinities.
CREATE OR REPLACE FUNCTION internal.oldest_base(p_from timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ((p_from AT TIME ZONE 'UTC') - internal.longest_step()) AT TIME ZONE 'UTC' $$;

-- power() without its errors: too large is infinite, too small is 0.
CREATE OR REPLACE FUNCTION internal.power_of_two(p_exponent float8) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN p_exponent >= 1024 THEN 'Infinity'
        WHEN p_exponent < -1074 THEN 0
        ELSE power(2::float8, p_exponent)
    END
$$;

-- Upper bound of bucket p_index: 2^(p_index * 2^-p_schema).
CREATE OR REPLACE FUNCTION internal.histogram_bound(p_schema int, p_index float8) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT internal.power_of_two(p_index * power(2::float8, -p_schema)) $$;

-- Whether a bucket holds less than before, where buckets are not the same: some are new, the schema
-- became coarser, or the zero bucket swallowed what is up to p_swallowed. One side, positive or
-- negative. Sums of float counts differ in their last digits.
CREATE OR REPLACE FUNCTION internal.has_decreased(
    p_schema int, p_before_schema int, p_swallowed float8,
    p_before_indexes int[], p_before_counts float8[], p_indexes int[], p_counts float8[]
) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT EXISTS (
        SELECT FROM (
            SELECT ((b.i::bigint - 1) >> (p_before_schema - p_schema)) + 1 AS i, sum(b.n) AS n
            FROM unnest(p_before_indexes, p_before_counts) AS b (i, n)
            WHERE internal.histogram_bound(p_before_schema, b.i) > p_swallowed
            GROUP BY 1
        ) AS before
        LEFT JOIN unnest(p_indexes, p_counts) AS after (i, n) USING (i)
        WHERE before.n * (1 - 1e-14) > coalesce(after.n, 0)
    )
$$;

-- Histograms of some series with p_from <= time < p_to, and for each series the one before them.
CREATE OR REPLACE FUNCTION internal.histograms_and_bases(
    p_series bigint[], p_from timestamptz, p_to timestamptz
) RETURNS SETOF internal.histogram
LANGUAGE sql STABLE
AS $$
    SELECT h.*
    FROM internal.histograms_between(p_from, p_to) AS h
    WHERE h.series_id = ANY (p_series) AND NOT h.is_stale AND h.count < 'Infinity'
    UNION ALL
    SELECT * FROM internal.newest_histograms(p_series, internal.oldest_base(p_from), p_from)
$$;

-- Histograms of some series that begin or end a run: each adds to bucket `plus` and takes away from
-- bucket `minus`, where these are not null.
--
-- A histogram is, after the one before it in its series (stale markers and counts that are no
-- finite numbers left out),
--     base: what is before p_from, or has none before it: counts nothing itself;
--     whole: all of it came in since a reset, or since a start within its bucket;
--     step: counts what it has more than the one before;
--     gauge: counts by itself.
--
-- Neither this nor the function above is STRICT: so they are planned as a part of the query that
-- calls them, and the widest rows are sorted once and stored nowhere.
CREATE OR REPLACE FUNCTION internal.histogram_ends(
    p_series bigint[], p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (
    series_id bigint, plus timestamptz, minus timestamptz, schema smallint, is_float boolean,
    count float8, exact_count numeric, sum float8, zero_threshold float8, zero_count float8,
    positive_indexes int[], positive_counts float8[],
    negative_indexes int[], negative_counts float8[], custom_bounds float8[]
)
LANGUAGE sql STABLE
AS $$
    SELECT series_id, plus, minus, schema, is_float, count, exact_counts[1], sum, zero_threshold,
        zero_count, positive_indexes, positive_counts, negative_indexes, negative_counts,
        custom_bounds
    FROM (
        SELECT *,
            CASE WHEN role <> 'base' AND (next_role = 'step' AND next_bucket = bucket) IS NOT TRUE
                THEN bucket END AS plus,
            CASE WHEN next_role = 'step' AND (next_bucket <> bucket OR role = 'base')
                THEN next_bucket END AS minus
        FROM (
            SELECT *, lead(role) OVER series AS next_role, lead(bucket) OVER series AS next_bucket
            FROM (
                SELECT *, CASE
                    WHEN time < p_from THEN 'base'
                    WHEN reset_hint = 3 THEN 'gauge'
                    WHEN before_hint = 3
                        OR (before_time >= time - internal.longest_step()) IS NOT TRUE
                        THEN CASE WHEN start_time >= bucket THEN 'whole' ELSE 'base' END
                    WHEN reset_hint = 1 OR start_time > before_time OR count < before_count
                        OR zero_count < before_zero_count OR zero_threshold < before_threshold
                        OR schema > before_schema OR (schema = -53) <> (before_schema = -53)
                        OR custom_bounds IS DISTINCT FROM before_bounds
                        THEN 'whole'
                    WHEN start_time = before_start THEN 'step'
                    WHEN schema < before_schema OR zero_threshold > before_threshold
                        OR positive_indexes <> before_positive_indexes
                        OR negative_indexes <> before_negative_indexes
                        THEN CASE WHEN internal.has_decreased(
                            schema, before_schema, swallowed,
                            before_positive_indexes, before_positive_counts,
                            positive_indexes, positive_counts
                        ) OR internal.has_decreased(
                            schema, before_schema, swallowed,
                            before_negative_indexes, before_negative_counts,
                            negative_indexes, negative_counts
                        ) THEN 'whole' ELSE 'step' END
                    WHEN positive_counts <> before_positive_counts AND EXISTS (
                        SELECT FROM (
                            SELECT unnest(before_positive_counts) AS before,
                                unnest(positive_counts) AS after
                        ) AS place WHERE after < before)
                        THEN 'whole'
                    WHEN negative_counts <> before_negative_counts AND EXISTS (
                        SELECT FROM (
                            SELECT unnest(before_negative_counts) AS before,
                                unnest(negative_counts) AS after
                        ) AS place WHERE after < before)
                        THEN 'whole'
                    ELSE 'step'
                END AS role
                FROM (
                    SELECT h.*, internal.bucket_start(p_interval, h.time) AS bucket,
                        lag(h.time) OVER series AS before_time,
                        lag(h.start_time) OVER series AS before_start,
                        lag(h.reset_hint) OVER series AS before_hint,
                        lag(h.count) OVER series AS before_count,
                        lag(h.zero_count) OVER series AS before_zero_count,
                        lag(h.zero_threshold) OVER series AS before_threshold,
                        CASE WHEN h.zero_threshold > lag(h.zero_threshold) OVER series
                            THEN h.zero_threshold ELSE -1 END AS swallowed,
                        lag(h.schema) OVER series AS before_schema,
                        lag(h.custom_bounds) OVER series AS before_bounds,
                        lag(h.positive_indexes) OVER series AS before_positive_indexes,
                        lag(h.positive_counts) OVER series AS before_positive_counts,
                        lag(h.negative_indexes) OVER series AS before_negative_indexes,
                        lag(h.negative_counts) OVER series AS before_negative_counts
                    FROM internal.histograms_and_bases(p_series, p_from, p_to) AS h
                    WINDOW series AS (PARTITION BY h.series_id ORDER BY h.time)
                ) AS neighbours
                OFFSET 0  -- Judge once: else the text of `role` is put wherever it is used.
            ) AS judged
            WINDOW series AS (PARTITION BY series_id ORDER BY time)
        ) AS runs
    ) AS ends
    WHERE plus IS NOT NULL OR minus IS NOT NULL
$$;
