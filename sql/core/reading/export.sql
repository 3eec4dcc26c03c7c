-- For each row of internal.sample_target: raw samples with their exact values, for `/export`.

-- From 1e15 on what is the shortest decimal of a float is a matter of taste (1e23 is
-- 99999999999999990000000 to PostgreSQL): such values come as text, like those that are exact. Stale
-- markers, which are no values, are left out.
CREATE OR REPLACE FUNCTION @target@.exported_samples(
    p_series bigint[], p_from timestamptz, p_to timestamptz, p_most bigint
)
RETURNS TABLE (series_ids bytea, times bytea, "values" bytea, places int[], texts text[])
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_series bigint[] := internal.own_series(p_series);
BEGIN
    RETURN QUERY
    SELECT array_send(array_agg(x.series_id)), array_send(array_agg(x.time)),
        array_send(array_agg(x.value)),
        array_agg(x.place::int) FILTER (WHERE x.text IS NOT NULL),
        array_agg(x.text) FILTER (WHERE x.text IS NOT NULL)
    FROM (
        SELECT o.series_id, o.time, o.value, row_number() OVER () - 1 AS place,
            CASE
                WHEN o.exact IS NOT NULL THEN trim_scale(o.exact)::text
                WHEN abs(o.value) >= 1e15 AND abs(o.value) < 'Infinity'
                    THEN o.value::text::numeric::text
            END AS text
        FROM (
            SELECT *
            FROM (
                SELECT y.series_id, y.time, y.value, y.exact
                FROM @target@.samples_between(p_from, p_to) AS y
                WHERE y.series_id = ANY (v_series) AND y.exact IS DISTINCT FROM 'NaN'
                LIMIT p_most
            ) AS f
            ORDER BY f.time, f.series_id
        ) AS o
    ) AS x;
END
$function$;
COMMENT ON FUNCTION @target@.exported_samples IS
    'Samples of series of the current tenant with p_from <= time < p_to, oldest first, as parallel arrays (array_send); and at which places, from 0, values are given as text, and what. Some p_most of them, if there are more';

REVOKE ALL ON FUNCTION @target@.exported_samples(bigint[], timestamptz, timestamptz, bigint)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @target@.exported_samples(bigint[], timestamptz, timestamptz, bigint)
TO authenticator, promgres_api;
