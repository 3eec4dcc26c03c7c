-- For each row of internal.live_width: minutes, hours and days of a target, stored and live ones put
-- together. They are the same statements with other names.

CREATE OR REPLACE VIEW @target@.parts_@width@ AS
SELECT r.bucket, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM internal.metric m
JOIN @target@.stored_@width@ r USING (metric_id)
WHERE NOT EXISTS (
        SELECT FROM @target@.mark AS k WHERE k.metric_id = r.metric_id @is_live@)
    AND NOT EXISTS (
        SELECT FROM @target@.mark AS k WHERE k.metric_id IS NULL @is_live@)
@packed@
UNION ALL
SELECT r.bucket, k.metric_id, k.tenant_id, k.schema, k.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM @target@.live_day AS k
CROSS JOIN LATERAL @target@.live(
    '@step@', ARRAY[k.metric_id], k.day, k.day + interval '24 hours') AS r;
COMMENT ON VIEW @target@.parts_@width@ IS
    'Stored and live buckets of @step@, as parts that combine to longer ones';

-- To a reader (sql_reader) its own tenant, behind a barrier that its conditions do not pass unless
-- they are leakproof, as those on time and names are.
CREATE OR REPLACE VIEW @target@.rollup_@width@ WITH (security_barrier) AS
SELECT bucket, tenant_id, schema, name, samples, sum, min, max, last_key[3] AS last,
    exact_max, exact_last_key[3] AS exact_last
FROM @target@.parts_@width@
WHERE coalesce(tenant_id = (SELECT internal.reader_tenant_id()), true);
COMMENT ON VIEW @target@.rollup_@width@ IS
    'Aggregates of every committed sample of target @target@, NaN left out; filter by tenant_id, a reader sees its own';

CREATE OR REPLACE FUNCTION @target@.rollup_@width@_between(
    p_tenant_id int, p_schemas text[], p_names text[], p_from timestamptz, p_to timestamptz
)
RETURNS SETOF @target@.rollup_@width@
LANGUAGE plpgsql
STABLE
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_metrics int[] := ARRAY(
        SELECT m.metric_id FROM internal.metric AS m
        WHERE m.tenant_id = p_tenant_id AND m.target = '@target@' AND m.schema = ANY (p_schemas)
            AND m.name = ANY (p_names));
    v_live    record;
BEGIN
    SELECT array_agg(k.metric_id) AS metrics, array_agg(k.hour) AS hours,
        array_agg(k.minutes) AS minutes
    INTO v_live
    FROM @target@.marks_of(
        v_metrics, date_bin('1 hour', p_from, @origin@), p_to) AS k;

    RETURN QUERY
    SELECT r.bucket, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
        r.last_key[3], r.exact_max, r.exact_last_key[3]
    FROM @between@ AS r
    JOIN internal.metric AS m USING (metric_id)
    WHERE r.metric_id = ANY (v_metrics) AND r.bucket >= p_from AND r.bucket < p_to
        AND NOT EXISTS (
            SELECT FROM unnest(v_live.metrics, v_live.hours, v_live.minutes)
                AS k (metric_id, hour, minutes)
            WHERE k.metric_id = r.metric_id @is_live@);

    IF v_live.metrics IS NOT NULL THEN
        RETURN QUERY
        SELECT r.bucket, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
            r.last_key[3], r.exact_max, r.exact_last_key[3]
        FROM @target@.live('@step@', v_metrics, p_from, p_to) AS r
        JOIN internal.metric AS m USING (metric_id);
    END IF;
END
$function$;
COMMENT ON FUNCTION @target@.rollup_@width@_between IS
    'Rows of rollup_@width@ of some metrics with p_from <= bucket < p_to, both starts of buckets: raw samples are read once, whatever waits for the worker';
