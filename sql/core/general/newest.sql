-- The newest sample of each series.

CREATE OR REPLACE VIEW internal.newest WITH (security_barrier) AS
SELECT s.series_id, s.name, s.schema, s.target, s.labels, x.time,
    coalesce(x.exact, x.value::text::numeric) AS value
FROM internal.series AS s
CROSS JOIN LATERAL (
    (SELECT n.time, n.value, n.exact FROM internal.sample AS n
    WHERE s.target = 'internal' AND n.series_id = s.series_id AND n.value <> 'NaN'
    ORDER BY n.time DESC LIMIT 1)
    UNION ALL
    (SELECT n.time, n.value, n.exact FROM cumsum.sample AS n
    WHERE s.target = 'cumsum' AND n.series_id = s.series_id AND n.value <> 'NaN'
    ORDER BY n.time DESC LIMIT 1)
    UNION ALL
    (SELECT n.time, n.value, n.exact FROM geo.sample AS n
    WHERE s.target = 'geo' AND n.series_id = s.series_id AND n.value <> 'NaN'
    ORDER BY n.time DESC LIMIT 1)
) AS x
WHERE s.tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW internal.newest IS
    'The newest sample of each series of the tenant, as an exact decimal, without NaN; filter by name';

GRANT SELECT ON internal.newest TO sql_reader;

-- Of the last hour's partitions or chunks first: most series are there, and all others are not even
-- opened for them.
CREATE OR REPLACE FUNCTION internal.newest_of(p_targets text[], p_series bigint[])
RETURNS TABLE (series_id bigint, "time" timestamptz, value numeric)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
    v_hour_ago timestamptz := now() - interval '1 hour';
    v_of       record;
    v_found    bigint[];
BEGIN
    FOR v_of IN
        SELECT t.target, array_agg(t.series_id) AS missing
        FROM unnest(p_targets, p_series) AS t (target, series_id) GROUP BY 1
    LOOP
        v_found := '{}';
        FOR series_id, "time", value IN EXECUTE internal.newest_sql(v_of.target)
            USING v_of.missing, v_hour_ago, timestamptz 'infinity'
        LOOP
            v_found := v_found || series_id;
            RETURN NEXT;
        END LOOP;
        RETURN QUERY EXECUTE internal.newest_sql(v_of.target)
            USING ARRAY(SELECT unnest(v_of.missing) EXCEPT SELECT unnest(v_found)),
                timestamptz '-infinity', v_hour_ago;
    END LOOP;
END
$$;

-- SQL for the newest sample of each of the series $1 with $2 <= time < $3.
CREATE OR REPLACE FUNCTION internal.newest_sql(p_target text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
AS $$
    SELECT format(
        'SELECT s.series_id, n.time, coalesce(n.exact, n.value::text::numeric)
         FROM unnest($1) AS s (series_id)
         CROSS JOIN LATERAL (
             SELECT x.time, x.value, x.exact FROM %I.samples_between($2, $3) AS x
             WHERE x.series_id = s.series_id AND x.value <> ''NaN''
             ORDER BY x.time DESC LIMIT 1
         ) AS n', p_target)
$$;

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
