-- Reading one period of some metrics, each part of it from the coarsest rollup that fits.

-- Measures in the shape of rollup_raw_between. The name of a metric is in lower case, an index has the one as sent.
CREATE OR REPLACE VIEW app.measure_raw AS
SELECT x.time AS bucket, x.tenant_id, x.target, x.schema, x.name AS sent_name,
    lower(x.name) AS name,
    coalesce(x.exact, CASE WHEN abs(x.value) < 'Infinity' THEN x.value::text::numeric END) AS sum,
    x.value AS max, x.exact AS exact_max, x.value AS last, x.exact AS exact_last, x.item_id
FROM app.measure AS x
WHERE x.value <> 'NaN';
COMMENT ON VIEW app.measure_raw IS
    'Measures as buckets of their own, named as metrics: what internal.rollup_raw_between is of samples';

-- Every metric of the current tenant: of series, and of measures, which count as samples do.
CREATE OR REPLACE FUNCTION internal.metrics_of(p_target text)
RETURNS TABLE (schema text, name text)
LANGUAGE sql STABLE STRICT
AS $$
    SELECT m.schema, m.name
    FROM internal.metric AS m
    WHERE m.tenant_id = internal.current_tenant_id() AND m.target = p_target
    UNION
    SELECT n.schema, n.metric
    FROM app.measure_name AS n
    WHERE n.tenant_id = internal.current_tenant_id() AND n.target = p_target
$$;

-- Every schema of the current tenant that has this metric.
CREATE OR REPLACE FUNCTION internal.metric_schemas(p_target text, p_name text) RETURNS text[]
LANGUAGE sql STABLE STRICT
AS $$
    SELECT array_agg(m.schema) FROM internal.metrics_of(p_target) AS m WHERE m.name = p_name
$$;

-- Every metric that the current tenant has in one of these schemas.
CREATE OR REPLACE FUNCTION internal.metric_names(p_target text, p_schemas text[]) RETURNS text[]
LANGUAGE sql STABLE STRICT
AS $$
    SELECT array_agg(DISTINCT m.name)
    FROM internal.metrics_of(p_target) AS m
    WHERE m.schema = ANY (p_schemas)
$$;

-- Names, as sent, of the current tenant's measures that are read as these metrics; NULL where there
-- are none, as with most tenants: whoever reads measures asks this first.
CREATE OR REPLACE FUNCTION internal.measures_of(
    p_target text, p_schemas text[], p_names text[]
) RETURNS text[]
LANGUAGE sql STABLE STRICT
AS $$
    SELECT array_agg(DISTINCT n.name)
    FROM app.measure_name AS n
    WHERE n.tenant_id = internal.current_tenant_id() AND n.target = p_target
        AND n.metric = ANY (p_names) AND n.schema = ANY (p_schemas)
$$;

-- Samples of the current tenant with p_from <= time < p_to, and measures that are read as one of
-- these metrics, aggregated by bucket and metric name. A bucket may come in several parts (two
-- relations share it): the caller combines them.
--
-- One statement a part, planned with the values at hand, touches only the partitions or chunks of
-- that part. `sum` costs a text conversion a sample and is computed for target cumsum only.
CREATE OR REPLACE FUNCTION internal.metric_parts(
    p_target text, p_schemas text[], p_names text[],
    p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (bucket timestamptz, name text, sum numeric, max float8, exact_max numeric)
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    v_part     record;
    v_measures text[];
BEGIN
    PERFORM internal.check_interval(p_interval);
    FOR v_part IN SELECT * FROM internal.read_plan(p_interval, p_from, p_to) LOOP
        RETURN QUERY EXECUTE format(
            'SELECT internal.bucket_start($1, r.bucket), r.name,
                    CASE WHEN $2 THEN sum(r.sum) END, max(r.max), max(r.exact_max)
             FROM %I.%I($3, $4, $5, $6, $7) AS r
             GROUP BY 1, 2',
            p_target, v_part.source || '_between'
        ) USING p_interval, p_target = 'cumsum', internal.current_tenant_id(), p_schemas, p_names,
                v_part.lo, v_part.hi;
    END LOOP;
    v_measures := internal.measures_of(p_target, p_schemas, p_names);
    IF v_measures IS NOT NULL THEN
        -- Measures have no rollups: all of the period is read.
        RETURN QUERY EXECUTE
            'SELECT internal.bucket_start($1, r.bucket), r.name,
                    CASE WHEN $2 THEN sum(r.sum) END, max(r.max), max(r.exact_max)
             FROM app.measure_raw AS r
             WHERE r.tenant_id = $3 AND r.target = $4 AND r.schema = ANY ($5)
               AND r.sent_name = ANY ($6) AND r.bucket >= $7 AND r.bucket < $8
             GROUP BY 1, 2'
            USING p_interval, p_target = 'cumsum', internal.current_tenant_id(), p_target,
                  p_schemas, v_measures, p_from, p_to;
    END IF;
END
$$;

-- Per bucket and metric name the largest exact value if there is one, else the largest value.
CREATE OR REPLACE FUNCTION internal.metric_maxima(
    p_schemas text[], p_names text[], p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (bucket timestamptz, name text, value numeric)
LANGUAGE sql STABLE STRICT
AS $$
    SELECT part.bucket, part.name, coalesce(max(part.exact_max), max(part.max)::text::numeric)
    FROM internal.metric_parts('internal', p_schemas, p_names, p_interval, p_from, p_to) AS part
    GROUP BY part.bucket, part.name
$$;

-- Decimal text without trailing zeros: 60, 0.379, 135304300855652060000, Infinity. Arithmetic on
-- infinities that has no answer (infinity - infinity) gives NULL, since NaN never leaves.
CREATE OR REPLACE FUNCTION internal.decimal_text(p_value numeric) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT trim_scale(nullif(p_value, 'NaN'))::text
$$;
