-- For each row of internal.rolled_up: what represents samples over long windows (Selection.reduction of
-- ingest/promql/storage.py): of an hour of a series that no edge of a window cuts one sample or two.
-- All others come as packed_samples has them: from made_before on, where no hours can be yet, and those
-- of series that would be read for the most part sample by sample.

-- That of earlier versions had no blocks of irregular steps.
DO $drop$
BEGIN
    IF (SELECT 'steps' <> ALL (proargnames) FROM pg_proc WHERE oid = to_regprocedure(
        '@target@.reduced_samples(bigint[], timestamptz, timestamptz, bigint, timestamptz[], text)'))
    THEN
        DROP FUNCTION @target@.reduced_samples(
            bigint[], timestamptz, timestamptz, bigint, timestamptz[], text);
    END IF;
END
$drop$;

CREATE OR REPLACE FUNCTION @target@.reduced_samples(
    p_series bigint[], p_from timestamptz, p_to timestamptz, p_most bigint,
    p_edges timestamptz[], p_reduction text
)
RETURNS TABLE (
    series_id bigint, first_ms bigint, step_ms int, steps bytea, times bytea, "values" bytea,
    weights bytea
)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET work_mem = '32MB'  -- as in samples.sql
AS $function$
DECLARE
    v_series bigint[] := internal.own_series(p_series);
    v_to     timestamptz := p_to + interval '1 microsecond';
    v_made   timestamptz := (
        SELECT least(v_to, greatest(p_from, h.made_before))
        FROM internal.hours_state AS h WHERE h.target = '@target@');
    v_kind   text := CASE p_reduction WHEN 'counters' THEN 'counters' ELSE 'floats' END;
    v_hourly bigint[] := '{}';
BEGIN
    IF v_made - p_from >= (@worth_reducing@) THEN
        v_hourly := ARRAY(
            SELECT h.series_id
            FROM @target@.stored_hour AS h
            WHERE h.series_id = ANY (v_series)
                AND h.hour >= p_from AND h.hour < v_made
                AND h.day > p_from - interval '24 hours' AND h.day < v_made
            GROUP BY h.series_id
            HAVING count(*) FILTER (WHERE h.nans = 0 AND (h.resets = 0 OR v_kind = 'floats'))
                >= 0.9 * count(*));
        RETURN QUERY
        SELECT x.series_id, (extract(epoch FROM min(x.time)) * 1000)::bigint, NULL::int,
            NULL::bytea, array_send(array_agg(x.time)), array_send(array_agg(x.value)),
            array_send(array_agg(x.weight))
        FROM (
            SELECT u.series_id, s.time, s.value, s.weight
            FROM @target@.units(v_hourly, v_hourly, p_edges, p_from, v_made, v_kind) AS u
            CROSS JOIN LATERAL (
                SELECT u.first_time, u.first, u.samples::bigint - 1
                WHERE u.samples > 1 AND p_reduction IN ('ends', 'counters')
                UNION ALL
                SELECT u.last_time,
                    CASE p_reduction WHEN 'min' THEN u.min WHEN 'max' THEN u.max ELSE u.last END,
                    CASE WHEN p_reduction IN ('min', 'max') THEN u.samples ELSE 1 END
            ) AS s (time, value, weight)
            LIMIT p_most
        ) AS x
        GROUP BY x.series_id;
    END IF;
    IF v_hourly <> '{}' AND v_made < v_to THEN
        RETURN QUERY
        SELECT y.*, NULL::bytea FROM @target@.packed_samples(v_hourly, v_made, p_to, p_most) AS y;
    END IF;
    v_series := ARRAY(SELECT unnest(v_series) EXCEPT SELECT unnest(v_hourly));
    IF v_series <> '{}' THEN
        RETURN QUERY
        SELECT y.*, NULL::bytea FROM @target@.packed_samples(v_series, p_from, p_to, p_most) AS y;
    END IF;
END
$function$;
COMMENT ON FUNCTION @target@.reduced_samples IS
    'As packed_samples; of hours that none of p_edges cuts one or two samples, and how many each of them stands for (null: itself). p_reduction is ends, counters, min or max';

REVOKE ALL ON FUNCTION
    @target@.reduced_samples(bigint[], timestamptz, timestamptz, bigint, timestamptz[], text)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    @target@.reduced_samples(bigint[], timestamptz, timestamptz, bigint, timestamptz[], text)
TO authenticator, promgres_api;
