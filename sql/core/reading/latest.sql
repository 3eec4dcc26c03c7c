-- The newest of everything. Newest means newest stored: a sender's clock may run ahead of ours.

-- Where to look for newest values, newest first: raw samples of this minute and the last, then of
-- the last five, then ever coarser rollups. Each is asked only for metrics that are still missing,
-- so that live metrics cost no rollup and dead ones no scan of their minutes.
CREATE OR REPLACE FUNCTION internal.latest_plan()
RETURNS TABLE (source text, width interval, lo timestamptz, hi timestamptz)
LANGUAGE sql STABLE ROWS 5
AS $$
    WITH edge AS (
        SELECT minute - interval '1 minute' AS recent, minute - interval '5 minutes' AS old
        FROM internal.bucket_start('1 minute', now()) AS minute
    )
    SELECT 'rollup_raw', interval '1 minute', edge.recent, 'infinity' FROM edge
    UNION ALL
    SELECT 'rollup_raw', interval '1 minute', edge.old, edge.recent FROM edge
    UNION ALL
    SELECT p.source, w.width, p.lo, p.hi
    FROM edge
    CROSS JOIN internal.read_plan('1 day', '-infinity', edge.old) AS p
    JOIN (
        VALUES ('rollup_1m', interval '1 minute'), ('rollup_1h', '1 hour'),
            ('rollup_1d', '24 hours')
    ) AS w (source, width) USING (source)
    ORDER BY 3 DESC
$$;

-- Last values of these metrics in the part [p_lo, p_hi) of the plan: an exact one if the newest
-- bucket has one. Says in which minute it was (where those are past their retention: in which
-- bucket), and leaves out metrics without a sample there.
CREATE OR REPLACE FUNCTION internal.latest_in(
    p_target text, p_schemas text[], p_names text[],
    p_source text, p_width interval, p_lo timestamptz, p_hi timestamptz
) RETURNS TABLE (bucket timestamptz, name text, value numeric)
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    v_minute text := CASE WHEN p_width > interval '1 minute' THEN format(
        '(SELECT max(r.bucket)
          FROM %I.rollup_1m_between(
              $2, $3, ARRAY[newest.name], newest.bucket, newest.bucket + $1) AS r)',
        p_target) END;
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT coalesce(%s, newest.bucket), newest.name, newest.value
         FROM (
             SELECT DISTINCT ON (r.name)
                    date_bin($1, r.bucket, internal.bucket_origin()) AS bucket, r.name,
                    coalesce(r.exact_last, r.last::text::numeric) AS value
             FROM %I.%I($2, $3, $4, $5, $6) AS r
             ORDER BY r.name, 1 DESC, r.exact_last IS NULL, r.bucket DESC, r.%I DESC
         ) AS newest',
        coalesce(v_minute, 'NULL'), p_target, p_source || '_between',
        CASE p_source WHEN 'rollup_raw' THEN 'series_id' ELSE 'schema' END
    ) USING p_width, internal.current_tenant_id(), p_schemas, p_names, p_lo, p_hi;
END
$$;

-- Newest minute and last value of each of these metrics, by series alone.
CREATE OR REPLACE FUNCTION internal.latest_samples(
    p_target text, p_schemas text[], p_names text[]
) RETURNS TABLE (bucket timestamptz, name text, value numeric)
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    v_missing text[] := ARRAY(
        SELECT DISTINCT m.name
        FROM internal.metric AS m
        WHERE m.tenant_id = internal.current_tenant_id() AND m.target = p_target
            AND m.schema = ANY (p_schemas) AND m.name = ANY (p_names)
    );
    v_found text[];
    v_part record;
BEGIN
    FOR v_part IN SELECT * FROM internal.latest_plan() LOOP
        EXIT WHEN v_missing = '{}';
        v_found := '{}';
        FOR bucket, name, value IN
            SELECT * FROM internal.latest_in(
                p_target, p_schemas, v_missing, v_part.source, v_part.width, v_part.lo, v_part.hi)
        LOOP
            v_found := v_found || name;
            RETURN NEXT;
        END LOOP;
        v_missing := ARRAY(SELECT unnest(v_missing) EXCEPT SELECT unnest(v_found));
    END LOOP;
END
$$;

-- Newest minute of the measures of each of these metrics: one step into an index a name, of the
-- last hour's partitions or chunks first.
CREATE OR REPLACE FUNCTION internal.latest_measures(
    p_target text, p_schemas text[], p_names text[]
) RETURNS TABLE (bucket timestamptz, name text)
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    v_missing text[] := p_names;
    v_found   text[];
    v_recent  timestamptz := now() - interval '1 hour';
    v_part    record;
BEGIN
    FOR v_part IN VALUES (v_recent, timestamptz 'infinity'), ('-infinity', v_recent) LOOP
        v_found := '{}';
        FOR bucket, name IN
            EXECUTE
                'SELECT date_bin(''1 minute'', max(newest.time), internal.bucket_origin()), n.metric
                 FROM app.measure_name AS n
                 CROSS JOIN LATERAL (
                     SELECT x.time FROM app.measure AS x
                     WHERE x.tenant_id = $1 AND x.name = n.name AND x.target = $2
                       AND x.schema = n.schema AND x.value <> ''NaN''
                       AND x.time >= $5 AND x.time < $6
                     ORDER BY x.time DESC
                     LIMIT 1
                 ) AS newest
                 WHERE n.tenant_id = $1 AND n.target = $2 AND n.schema = ANY ($3)
                   AND n.metric = ANY ($4)
                 GROUP BY n.metric'
                USING internal.current_tenant_id(), p_target, p_schemas, v_missing,
                      v_part.column1, v_part.column2
        LOOP
            v_found := v_found || name;
            RETURN NEXT;
        END LOOP;
        v_missing := ARRAY(SELECT unnest(v_missing) EXCEPT SELECT unnest(v_found));
        EXIT WHEN v_missing = '{}';
    END LOOP;
END
$$;

-- Last value of a metric in one minute, samples and measures together: the newest exact one, else
-- the newest; of several at one time a measure, then the one of the newest series.
CREATE OR REPLACE FUNCTION internal.last_of_minute(
    p_target text, p_schemas text[], p_name text, p_minute timestamptz
) RETURNS numeric
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    v_value numeric;
BEGIN
    EXECUTE format(
        'SELECT coalesce(r.exact, r.value::text::numeric)
         FROM (
             SELECT s.bucket AS time, s.exact_last AS exact, s.last AS value, s.series_id,
                    NULL::uuid AS item_id
             FROM %I.rollup_raw_between(
                 $1, $3, ARRAY[$4], $6, $6 + interval ''1 minute'') AS s
             UNION ALL
             SELECT m.bucket, m.exact_last, m.last, NULL, m.item_id
             FROM app.measure_raw AS m
             WHERE m.tenant_id = $1 AND m.target = $2 AND m.schema = ANY ($3)
               AND m.sent_name = ANY ($5)
               AND m.bucket >= $6 AND m.bucket < $6 + interval ''1 minute''
         ) AS r
         ORDER BY r.exact IS NULL, r.time DESC, r.series_id DESC NULLS FIRST, r.item_id DESC
         LIMIT 1',
        p_target
    ) INTO v_value USING
        internal.current_tenant_id(), p_target, p_schemas, p_name,
        internal.measures_of(p_target, p_schemas, ARRAY[p_name]), p_minute;
    RETURN v_value;
END
$$;

-- Newest minute and last value of each of these metrics, measures counted as samples.
CREATE OR REPLACE FUNCTION internal.latest_values(
    p_target text, p_schemas text[], p_names text[]
) RETURNS TABLE (bucket timestamptz, name text, value numeric)
LANGUAGE plpgsql STABLE STRICT
AS $$
BEGIN
    IF internal.measures_of(p_target, p_schemas, p_names) IS NULL THEN
        RETURN QUERY SELECT * FROM internal.latest_samples(p_target, p_schemas, p_names);
        RETURN;
    END IF;
    RETURN QUERY
    SELECT greatest(s.bucket, m.bucket), coalesce(s.name, m.name),
        CASE
            WHEN s.bucket > m.bucket OR m.bucket IS NULL THEN s.value
            ELSE internal.last_of_minute(p_target, p_schemas, m.name, m.bucket)
        END
    FROM internal.latest_samples(p_target, p_schemas, p_names) AS s
    FULL JOIN internal.latest_measures(p_target, p_schemas, p_names) AS m ON m.name = s.name;
END
$$;

-- Total so far of each of these metrics.
CREATE OR REPLACE FUNCTION internal.cumsum_totals(p_schemas text[], p_names text[])
RETURNS TABLE (name text, total numeric)
LANGUAGE sql STABLE STRICT
AS $$
    -- Cut at now(), whole days are read up to yesterday: today's is always being recomputed.
    SELECT part.name, coalesce(sum(part.sum), 0)
    FROM (VALUES (timestamptz '-infinity', now()), (now(), 'infinity')) AS period (lo, hi)
    CROSS JOIN internal.metric_parts(
        'cumsum', p_schemas, p_names, '1 day', period.lo, period.hi
    ) AS part
    GROUP BY part.name
$$;

CREATE OR REPLACE FUNCTION api.get_all_latest_common_metrics()
RETURNS TABLE ("timestamp" timestamptz, table_name text, value text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT l.bucket, l.name, internal.decimal_text(l.value)
    FROM internal.latest_values(
        'internal', ARRAY['common'], internal.metric_names('internal', ARRAY['common'])
    ) AS l
    ORDER BY l.name COLLATE "C"
$$;

COMMENT ON FUNCTION api.get_all_latest_common_metrics() IS
'Last value of every metric of schema common, one row a metric, ordered by name.

table_name is the name of the metric in lower case. The value is the newest exact value of its
newest minute if that has one, else the value of its newest sample (of several at one time, that of
the newest series), as decimal text in the unit of the metric. timestamp is the start of that minute
(of the day, where the minutes of a long silent metric are past their retention).

Example: get_all_latest_common_metrics()';

CREATE OR REPLACE FUNCTION api.get_all_latest_cumsum_metrics()
RETURNS TABLE ("timestamp" timestamptz, table_name text, value text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    WITH metric AS MATERIALIZED (
        SELECT array_agg(DISTINCT m.schema) AS schemas, array_agg(DISTINCT m.name) AS names
        FROM internal.metrics_of('cumsum') AS m
    )
    SELECT l.bucket, l.name, internal.decimal_text(t.total)
    FROM metric
    CROSS JOIN internal.latest_values('cumsum', metric.schemas, metric.names) AS l
    JOIN internal.cumsum_totals(metric.schemas, metric.names) AS t USING (name)
    ORDER BY l.name COLLATE "C"
$$;

COMMENT ON FUNCTION api.get_all_latest_cumsum_metrics() IS
'Total so far of every cumulative metric, one row a metric, ordered by name.

table_name is the name of the metric in lower case. The value is the sum of all its samples (of
target "cumsum", whatever their schema), an exact decimal as text in the unit of the metric.
timestamp is the start of the newest minute that has a sample.

Example: get_all_latest_cumsum_metrics()';
