-- Native histograms as arrays in binary form, a row a series, as `samples.sql` does it for floats.

-- Buckets are ragged: what array_send makes of each histogram's arrays, one after the other, and how
-- many elements each has. Counts that no float8 holds are read as the nearest one.
CREATE OR REPLACE FUNCTION internal.packed_histograms(
    p_series bigint[], p_from timestamptz, p_to timestamptz, p_most bigint
)
RETURNS TABLE (
    series_id bigint, times bytea, is_stale bytea, reset_hints bytea, schemas bytea,
    counts bytea, sums bytea, zero_thresholds bytea, zero_counts bytea,
    positive_lengths bytea, positive_indexes bytea, positive_counts bytea,
    negative_lengths bytea, negative_indexes bytea, negative_counts bytea,
    bounds_lengths bytea, bounds bytea
)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_series bigint[];
BEGIN
    -- Most series have no histograms: one look into the index for each, and no more.
    SELECT coalesce(array_agg(s.series_id), '{}') INTO v_series
    FROM unnest(internal.own_series(p_series)) AS s (series_id)
    WHERE EXISTS (
        SELECT FROM internal.histograms_between(
            p_from - interval '1 hour', p_to + interval '1 microsecond') AS x
        WHERE x.series_id = s.series_id
    );
    RETURN QUERY
    SELECT h.series_id,
        array_send(array_agg(h.time)),
        array_send(array_agg(h.is_stale::int)),
        array_send(array_agg(h.reset_hint::int)),
        array_send(array_agg(h.schema::int)),
        array_send(array_agg(h.count)),
        array_send(array_agg(h.sum)),
        array_send(array_agg(h.zero_threshold)),
        array_send(array_agg(h.zero_count)),
        array_send(array_agg(cardinality(h.positive_indexes))),
        string_agg(array_send(h.positive_indexes), ''),
        string_agg(array_send(h.positive_counts), ''),
        array_send(array_agg(cardinality(h.negative_indexes))),
        string_agg(array_send(h.negative_indexes), ''),
        string_agg(array_send(h.negative_counts), ''),
        array_send(array_agg(coalesce(cardinality(h.custom_bounds), 0))),
        string_agg(array_send(coalesce(h.custom_bounds, '{}')), '')
    FROM (
        SELECT *
        FROM internal.histograms_between(p_from, p_to + interval '1 microsecond') AS x
        WHERE x.series_id = ANY (v_series)
        UNION ALL
        -- What a histogram says of a counter reset, it says against the one before it.
        SELECT n.*
        FROM unnest(v_series) AS s (series_id)
        CROSS JOIN LATERAL (
            SELECT *
            FROM internal.histograms_between(p_from - interval '1 hour', p_from) AS y
            WHERE y.series_id = s.series_id
            ORDER BY y.time DESC
            LIMIT 1
        ) AS n
        ORDER BY series_id, time
        LIMIT p_most
    ) AS h
    GROUP BY h.series_id;
END
$function$;
COMMENT ON FUNCTION internal.packed_histograms IS
    'Native histograms of series of the current tenant with p_from <= time <= p_to, and the last one of the hour before, oldest first: parallel arrays as array_send makes them, and of ragged ones all in a row beside their lengths';

CREATE OR REPLACE FUNCTION internal.live_histograms(
    p_series bigint[], p_from timestamptz, p_to timestamptz
)
RETURNS SETOF bigint
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
AS $function$
DECLARE
    v_series bigint[] := internal.own_series(p_series);
BEGIN
    RETURN QUERY
    SELECT s.series_id
    FROM unnest(v_series) AS s (series_id)
    CROSS JOIN LATERAL (
        SELECT
        FROM internal.histograms_between(p_from, p_to + interval '1 microsecond') AS x
        WHERE x.series_id = s.series_id
        LIMIT 1
    ) AS n;
END
$function$;
COMMENT ON FUNCTION internal.live_histograms IS
    'Those of these series of the current tenant that have a native histogram with p_from <= time <= p_to';

REVOKE ALL ON FUNCTION
    internal.packed_histograms(bigint[], timestamptz, timestamptz, bigint),
    internal.live_histograms(bigint[], timestamptz, timestamptz)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    internal.packed_histograms(bigint[], timestamptz, timestamptz, bigint),
    internal.live_histograms(bigint[], timestamptz, timestamptz)
TO authenticator, promgres_api;
