-- For each row of internal.rolled_up.
--
-- Raw samples in the shape of a rollup, a bucket for each sample, for what minutes cannot answer.
-- NaN and stale markers enter no aggregate, infinities no sum, as in the rollups.

-- That of earlier versions returned rows of a view.
DROP FUNCTION IF EXISTS @target@.rollup_raw_between(
    int, text[], text[], timestamptz, timestamptz);

CREATE OR REPLACE FUNCTION @target@.rollup_raw_between(
    p_tenant_id int, p_schemas text[], p_names text[], p_from timestamptz, p_to timestamptz
)
RETURNS TABLE (
    bucket timestamptz, tenant_id int, schema text, name text, sum numeric, max float8,
    exact_max numeric, last float8, exact_last numeric, series_id bigint
)
LANGUAGE sql STABLE
AS $function$
    SELECT x.time, x.tenant_id, x.schema, x.name,
        coalesce(
            x.exact, CASE WHEN abs(x.value) < 'Infinity' THEN x.value::text::numeric END),
        x.value, x.exact, x.value, x.exact, x.series_id
    FROM @target@.series_samples_between(p_from, p_to) AS x
    WHERE x.value <> 'NaN' AND x.tenant_id = p_tenant_id
        AND x.schema = ANY (p_schemas) AND x.name = ANY (p_names)
$function$;
COMMENT ON FUNCTION @target@.rollup_raw_between IS
    'Samples of some metrics with p_from <= bucket < p_to, as buckets of their own: what rollup_1m_between has, without the minutes; the planner sees through it';
