-- What our functions read rollups by, on every engine: here what is under the views, without the
-- barrier that they are to readers, by a filter that the planner takes into the chunks.

DO $create$
DECLARE
    v_target text;
    v_width  text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        FOREACH v_width IN ARRAY ARRAY['1m', '1h', '1d'] LOOP
            EXECUTE format($function$
CREATE OR REPLACE FUNCTION %1$I.rollup_%2$s_between(
    p_tenant_id int, p_schemas text[], p_names text[], p_from timestamptz, p_to timestamptz
)
RETURNS SETOF %1$I.rollup_%2$s
LANGUAGE sql
STABLE
AS $$
    SELECT r.bucket, r.tenant_id, r.schema, r.name, r.samples, r.sum, r.min, r.max, r.last,
        r.exact_max, r.exact_last
    FROM %1$I.parts_%2$s AS r
    WHERE r.tenant_id = p_tenant_id AND r.schema = ANY (p_schemas) AND r.name = ANY (p_names)
        AND r.bucket >= p_from AND r.bucket < p_to
$$;
COMMENT ON FUNCTION %1$I.rollup_%2$s_between IS
    'Rows of rollup_%2$s of some metrics with p_from <= bucket < p_to, both starts of buckets';
            $function$, v_target, v_width);
        END LOOP;
    END LOOP;
END
$create$;
