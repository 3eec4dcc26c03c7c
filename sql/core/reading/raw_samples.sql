-- For each row of internal.rolled_up.
--
-- Raw samples in the shape of a rollup, a bucket for each sample, for what minutes cannot answer.
-- NaN and stale markers enter no aggregate, infinities no sum, as in the rollups.

CREATE OR REPLACE VIEW @target@.rollup_raw AS
SELECT x.time AS bucket, s.tenant_id, s.schema, s.name,
    coalesce(x.exact, CASE WHEN abs(x.value) < 'Infinity' THEN x.value::text::numeric END) AS sum,
    x.value AS max, x.exact AS exact_max, x.value AS last, x.exact AS exact_last, s.series_id
FROM @target@.sample x
JOIN internal.series s USING (series_id)
WHERE s.target = '@target@' AND x.value <> 'NaN';
COMMENT ON VIEW @target@.rollup_raw IS
    'Samples of target @target@ as buckets of their own: what rollup_1m has, without the minutes';

CREATE OR REPLACE FUNCTION @target@.rollup_raw_between(
    p_tenant_id int, p_schemas text[], p_names text[], p_from timestamptz, p_to timestamptz
)
RETURNS SETOF @target@.rollup_raw
LANGUAGE sql STABLE
AS $function$
    SELECT * FROM @target@.rollup_raw AS r
    WHERE r.tenant_id = p_tenant_id AND r.schema = ANY (p_schemas) AND r.name = ANY (p_names)
        AND r.bucket >= p_from AND r.bucket < p_to
$function$;
COMMENT ON FUNCTION @target@.rollup_raw_between IS
    'Rows of rollup_raw of some metrics with p_from <= bucket < p_to; the planner sees through it';
