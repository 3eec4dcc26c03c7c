-- For each row of internal.rollup_width: what readers use, which is a continuous aggregate without the
-- columns that only combining needs; and what our functions read it by, on every engine: here without
-- the barrier that the view is to readers.

CREATE OR REPLACE VIEW @target@.rollup_@width@ WITH (security_barrier) AS
SELECT bucket, tenant_id, schema, name, samples, sum, min, max, last, exact_max, exact_last
FROM @target@.parts_@width@
WHERE coalesce(tenant_id = (SELECT internal.reader_tenant_id()), true);
COMMENT ON VIEW @target@.rollup_@width@ IS
    'Aggregates of every committed sample of target @target@, NaN left out; filter by tenant_id, a reader sees its own';

-- A statement of its own, not a function that is put in the place of its call: only what the extension
-- sees before it is planned has the watermark (what is stored, and what is still to be computed) as a
-- constant, and without that a year opens each of its chunks of raw samples.
CREATE OR REPLACE FUNCTION @target@.rollup_@width@_between(
    p_tenant_id int, p_schemas text[], p_names text[], p_from timestamptz, p_to timestamptz
)
RETURNS SETOF @target@.rollup_@width@
LANGUAGE plpgsql
STABLE
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT r.bucket, r.tenant_id, r.schema, r.name, r.samples, r.sum, r.min, r.max, r.last,
        r.exact_max, r.exact_last
    FROM @target@.parts_@width@ AS r
    WHERE r.tenant_id = p_tenant_id AND r.schema = ANY (p_schemas) AND r.name = ANY (p_names)
        AND r.bucket >= p_from AND r.bucket < p_to;
END
$$;
COMMENT ON FUNCTION @target@.rollup_@width@_between IS
    'Rows of rollup_@width@ of some metrics with p_from <= bucket < p_to, both starts of buckets';
