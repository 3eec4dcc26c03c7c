-- For each row of internal.rolled_up: what represents samples over long windows (Selection.reduction of
-- ingest/promql/storage.py): of an hour of a series that no edge of a window cuts one sample or two.
-- Where no hours can be yet, from made_before on, samples come as packed_samples has them.

CREATE OR REPLACE FUNCTION @target@.reduced_samples(
    p_series bigint[], p_from timestamptz, p_to timestamptz, p_most bigint,
    p_edges timestamptz[], p_reduction text
)
RETURNS TABLE (
    series_id bigint, first_ms bigint, step_ms int, times bytea, "values" bytea, weights bytea
)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_series bigint[] := internal.own_series(p_series);
    v_to     timestamptz := p_to + interval '1 microsecond';
    v_made   timestamptz := (
        SELECT least(v_to, greatest(p_from, h.made_before))
        FROM internal.hours_state AS h WHERE h.target = '@target@');
    v_kind   text := CASE p_reduction WHEN 'counters' THEN 'counters' ELSE 'floats' END;
BEGIN
    IF v_made > p_from THEN
        RETURN QUERY
        SELECT x.series_id, (extract(epoch FROM min(x.time)) * 1000)::bigint, NULL::int,
            array_send(array_agg(x.time)), array_send(array_agg(x.value)),
            array_send(array_agg(x.weight))
        FROM (
            SELECT u.series_id, s.time, s.value, s.weight
            FROM @target@.units(v_series, v_series, p_edges, p_from, v_made, v_kind) AS u
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
    IF v_made < v_to THEN
        RETURN QUERY
        SELECT y.*, NULL::bytea
        FROM @target@.packed_samples(p_series, v_made, p_to, p_most) AS y;
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
