-- What comes beside samples and is read as it was sent.

-- Planned with the values at hand: only the partitions or chunks of the period are looked at.
CREATE OR REPLACE FUNCTION internal.exemplars_of(
    p_series bigint[], p_from timestamptz, p_to timestamptz
) RETURNS SETOF internal.exemplar
LANGUAGE plpgsql STABLE STRICT
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT e.* FROM internal.exemplar AS e
    WHERE e.series_id = ANY (p_series) AND e.time >= p_from AND e.time < p_to;
END
$$;

CREATE OR REPLACE FUNCTION api.get_exemplars(
    p_metric_name text, p_schema text, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value float8, labels jsonb, series_labels jsonb)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    SELECT e.time, e.value, e.labels, s.labels
    FROM internal.exemplars_of(internal.series_of(p_metric_name, p_schema), p_from, p_to) AS e
    JOIN internal.series AS s USING (series_id)
    ORDER BY e.time DESC, e.series_id, e.value, e.labels_hash
$$;

COMMENT ON FUNCTION api.get_exemplars(text, text, timestamptz, timestamptz) IS
'Exemplars of a metric in a period: single observations with labels such as trace_id, newest first.

value is what was observed, in the unit of the metric; labels are the exemplar''s own, series_labels
those of its series. Exemplars of classic histograms belong to the metric that ends in _bucket.
p_metric_name in any case, p_schema is the schema that routing gave the series, "common" unless a rule
says otherwise. Exemplars with p_from <= time < p_to count.

Example: get_exemplars(''rpc_duration_seconds_bucket'', ''common'', ''2026-01-01T00:00Z'', ''2026-01-02T00:00Z'')';

CREATE OR REPLACE FUNCTION api.get_metric_metadata()
RETURNS TABLE (name text, type text, unit text, help text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT ON (m.name) m.name, m.type, m.unit, m.help
    FROM internal.metadata AS m
    WHERE m.tenant_id = internal.current_tenant_id()
    ORDER BY m.name, m.first_seen DESC, m.digest
$$;

COMMENT ON FUNCTION api.get_metric_metadata() IS
'What senders say of their metrics: type, unit and help text, ordered by name.

One row a metric family, such as rpc_duration_seconds for rpc_duration_seconds_bucket, with its name
as sent; where senders said different things, what was said first most recently. type is unknown,
counter, gauge, histogram, gaugehistogram, summary, info or stateset; unit and help may be empty.

Example: get_metric_metadata()';
