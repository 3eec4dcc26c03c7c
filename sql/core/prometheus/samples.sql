-- For each row of internal.sample_target: samples as arrays in binary form, a row a series, or a row a
-- block (engine postgres). A row a sample reaches numpy three to five times slower. They are not ordered
-- here: an index mostly gives them in order of time, and who looks whether it did is the reader.

-- That of earlier versions had no blocks, or none of irregular steps.
DO $drop$
BEGIN
    IF (SELECT 'steps' <> ALL (proargnames) FROM pg_proc WHERE oid = to_regprocedure(
        '@target@.packed_samples(bigint[], timestamptz, timestamptz, bigint)'))
    THEN
        DROP FUNCTION @target@.packed_samples(bigint[], timestamptz, timestamptz, bigint);
    END IF;
END
$drop$;

CREATE OR REPLACE FUNCTION @target@.packed_samples(
    p_series bigint[], p_from timestamptz, p_to timestamptz, p_most bigint
)
RETURNS TABLE (
    series_id bigint, first_ms bigint, step_ms int, steps bytea, times bytea, "values" bytea
)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET work_mem = '32MB'  -- what it returns is collected first
AS $function$
DECLARE
    v_series bigint[] := internal.own_series(p_series);
    v_to     timestamptz := p_to + interval '1 microsecond';
BEGIN
    RETURN QUERY
    SELECT x.series_id, (extract(epoch FROM min(x.time)) * 1000)::bigint, NULL::int,
        NULL::bytea, array_send(array_agg(x.time)), array_send(array_agg(x.value))
    FROM (
        SELECT y.series_id, y.time, y.value
        FROM @scattered@ AS y
        WHERE y.series_id = ANY (v_series)
        LIMIT p_most
    ) AS x
    GROUP BY x.series_id
    @packed@;
END
$function$;
COMMENT ON FUNCTION @target@.packed_samples IS
    'Samples of series of the current tenant with p_from <= time <= p_to: what array_send makes of times and values, parallel, in any order: that of time, where an index gives it; of blocks the first time in milliseconds and the step instead of times, or the time of the first step and all steps up to the last value. Several rows a series. Some p_most of them or more, if there are more';

CREATE OR REPLACE FUNCTION @target@.count_samples(
    p_series bigint[], p_from timestamptz, p_to timestamptz, p_most bigint
)
RETURNS bigint
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_series bigint[] := internal.own_series(p_series);
    v_to     timestamptz := p_to + interval '1 microsecond';
    v_packed bigint := @in_blocks@;
BEGIN
    IF v_packed >= p_most THEN
        RETURN p_most;
    END IF;
    RETURN v_packed + (
        SELECT count(*) FROM (
            SELECT FROM @scattered@ AS y
            WHERE y.series_id = ANY (v_series)
            LIMIT p_most - v_packed
        ) AS x
    );
END
$function$;
COMMENT ON FUNCTION @target@.count_samples IS
    'How many samples series of the current tenant have with p_from <= time <= p_to; p_most, if there are more';

-- Of each series by itself, from the newest partition back: four times as fast as reading five
-- minutes of all.
CREATE OR REPLACE FUNCTION @target@.newest_samples(
    p_series bigint[], p_from timestamptz, p_to timestamptz
)
RETURNS TABLE (series_ids bytea, times bytea, "values" bytea)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_series bigint[] := internal.own_series(p_series);
    v_to     timestamptz := p_to + interval '1 microsecond';
BEGIN
    RETURN QUERY
    SELECT array_send(array_agg(s.series_id)), array_send(array_agg(n.time)),
        array_send(array_agg(n.value))
    FROM unnest(v_series) AS s (series_id)
    CROSS JOIN LATERAL (
        SELECT x.time, x.value
        FROM @target@.samples_between(p_from, v_to) AS x
        WHERE x.series_id = s.series_id
        ORDER BY x.time DESC
        LIMIT 1
    ) AS n;
END
$function$;
COMMENT ON FUNCTION @target@.newest_samples IS
    'The newest sample with p_from <= time <= p_to of each of these series of the current tenant: one row of parallel arrays, as array_send makes them; nulls if there is none';

CREATE OR REPLACE FUNCTION @target@.live_series(
    p_series bigint[], p_from timestamptz, p_to timestamptz
)
RETURNS SETOF bigint
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_series bigint[] := internal.own_series(p_series);
    v_to     timestamptz := p_to + interval '1 microsecond';
BEGIN
    RETURN QUERY
    SELECT s.series_id
    FROM unnest(v_series) AS s (series_id)
    CROSS JOIN LATERAL (
        SELECT
        FROM @target@.samples_between(p_from, v_to) AS x
        WHERE x.series_id = s.series_id
        ORDER BY x.time DESC
        LIMIT 1
    ) AS n;
END
$function$;
COMMENT ON FUNCTION @target@.live_series IS
    'Those of these series of the current tenant that have a sample with p_from <= time <= p_to';

REVOKE ALL ON FUNCTION
    @target@.packed_samples(bigint[], timestamptz, timestamptz, bigint),
    @target@.count_samples(bigint[], timestamptz, timestamptz, bigint),
    @target@.newest_samples(bigint[], timestamptz, timestamptz),
    @target@.live_series(bigint[], timestamptz, timestamptz)
FROM PUBLIC;
GRANT USAGE ON SCHEMA @target@ TO authenticator, promgres_api;
GRANT EXECUTE ON FUNCTION
    @target@.packed_samples(bigint[], timestamptz, timestamptz, bigint),
    @target@.count_samples(bigint[], timestamptz, timestamptz, bigint),
    @target@.newest_samples(bigint[], timestamptz, timestamptz),
    @target@.live_series(bigint[], timestamptz, timestamptz)
TO authenticator, promgres_api;
