-- The newest sample of each series.

-- SQL for the newest sample of each of the series $1 with $2 <= time < $3; where they may be of any
-- age, it is first looked up when each was: blocks of years are not taken apart for it.
CREATE OR REPLACE FUNCTION internal.newest_sql(p_target text, p_of_any_age boolean) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
AS $$
    SELECT format(
        'SELECT s.series_id, n.time, coalesce(n.exact, n.value::text::numeric)
         FROM unnest($1) AS s (series_id)
         CROSS JOIN LATERAL (%s) AS newest (since)
         CROSS JOIN LATERAL (
             SELECT x.time, x.value, x.exact
             FROM %I.samples_between(newest.since, $3) AS x
             WHERE x.series_id = s.series_id AND x.value <> ''NaN''
             ORDER BY x.time DESC LIMIT 1
         ) AS n',
        CASE WHEN p_of_any_age
            THEN format('SELECT %I.newest_time(s.series_id, $2, $3) OFFSET 0', p_target)
            ELSE 'SELECT $2'
        END, p_target)
$$;

-- Of the last hour's partitions or chunks first: most series are there, and only those that are not are
-- looked for further back.
CREATE OR REPLACE FUNCTION internal.newest_of(p_targets text[], p_series bigint[])
RETURNS TABLE (series_id bigint, "time" timestamptz, value numeric)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
    v_back    interval;
    v_since   timestamptz;
    v_until   timestamptz;
    v_of      record;
    v_missing bigint[];
    v_found   bigint[];
BEGIN
    FOR v_of IN
        SELECT t.target, array_agg(t.series_id) AS ids
        FROM unnest(p_targets, p_series) AS t (target, series_id) GROUP BY 1
    LOOP
        v_missing := v_of.ids;
        v_until := 'infinity';
        FOREACH v_back IN ARRAY ARRAY[interval '1 hour', '24 hours', '720 hours', NULL] LOOP
            v_since := coalesce(now() - v_back, '-infinity');
            v_found := '{}';
            FOR series_id, "time", value IN EXECUTE internal.newest_sql(v_of.target, v_back IS NULL)
                USING v_missing, v_since, v_until
            LOOP
                v_found := v_found || series_id;
                RETURN NEXT;
            END LOOP;
            v_missing := ARRAY(SELECT unnest(v_missing) EXCEPT SELECT unnest(v_found));
            EXIT WHEN v_missing = '{}';
            v_until := v_since;
        END LOOP;
    END LOOP;
END
$$;

-- The view below calls it with the rights of whoever reads it, so a reader may call it as well.
CREATE OR REPLACE FUNCTION internal.newest_of_metric(p_metric_id int)
RETURNS TABLE (series_id bigint, "time" timestamptz, value numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
AS $$
#variable_conflict use_column
BEGIN
    IF internal.may_see(ARRAY[p_metric_id]) THEN
        RETURN QUERY
        SELECT n.series_id, n.time, n.value
        FROM (
            SELECT array_agg(s.target::text) AS targets, array_agg(s.series_id) AS ids
            FROM internal.series AS s WHERE s.metric_id = p_metric_id
        ) AS of_metric
        CROSS JOIN internal.newest_of(of_metric.targets, of_metric.ids) AS n;
    END IF;
END
$$;
COMMENT ON FUNCTION internal.newest_of_metric IS
    'The newest sample of each series of a metric, as an exact decimal, without NaN';

CREATE OR REPLACE VIEW internal.newest WITH (security_barrier) AS
SELECT s.series_id, m.name, m.schema, m.target, s.labels, n.time, n.value
FROM internal.metric AS m
CROSS JOIN LATERAL internal.newest_of_metric(m.metric_id) AS n
JOIN internal.series AS s ON s.series_id = n.series_id
WHERE m.tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW internal.newest IS
    'The newest sample of each series of the tenant, as an exact decimal, without NaN; filter by name';

GRANT EXECUTE ON FUNCTION internal.newest_of_metric(int) TO sql_reader;
GRANT SELECT ON internal.newest TO sql_reader;

CREATE OR REPLACE FUNCTION api.newest(p_metric text DEFAULT NULL, p_match jsonb DEFAULT NULL)
RETURNS TABLE ("timestamp" timestamptz, labels jsonb, value text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    WITH s AS MATERIALIZED (SELECT * FROM internal.matched_series(p_metric, p_match))
    SELECT n.time, s.labels, internal.decimal_text(n.value)
    FROM (SELECT array_agg(target) AS targets, array_agg(series_id) AS ids FROM s) AS asked
    CROSS JOIN internal.newest_of(asked.targets, asked.ids) AS n
    JOIN s USING (series_id)
    ORDER BY s.labels, s.series_id
$$;

COMMENT ON FUNCTION api.newest(text, jsonb) IS
'The newest sample of each series of a metric, however old it is, ordered by labels.

p_metric in any case, the default is all metrics; p_match has labels with their values, all of which a
series must have ("" is: has no such label). value is an exact decimal as text, in the unit of the
metric; NaN and stale markers do not count, so a series that has ended shows what it had last.
timestamp is the time of the sample, labels are all of the series''.

Example: newest(''up'', ''{"job": "api"}'')';

GRANT EXECUTE ON FUNCTION api.newest(text, jsonb) TO web_anon, writer;
