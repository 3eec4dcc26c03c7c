-- Which series a question is about, and what there is: metrics, labels, their values, series.

-- Series of the current tenant. p_metric in any case, null is every metric; p_match has labels and
-- their values, null or '' being no such label.
CREATE OR REPLACE FUNCTION internal.matched_series(p_metric text, p_match jsonb)
RETURNS SETOF internal.series
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_tenant_id int := internal.current_tenant_id();
    v_match     jsonb := CASE jsonb_typeof(p_match)
        WHEN 'string' THEN (p_match #>> '{}')::jsonb  -- an object that came as text in JSON
        ELSE p_match
    END;
    v_labels    jsonb;
    v_absent    text[];
BEGIN
    IF jsonb_typeof(v_match) NOT IN ('object', 'null') THEN
        RAISE EXCEPTION 'p_match must be a JSON object of labels and their values'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Such as {"job": "api"}; matching by regular expression is PromQL''s.';
    END IF;
    SELECT coalesce(jsonb_object_agg(key, value) FILTER (WHERE value <> ''), '{}'),
        coalesce(array_agg(key) FILTER (WHERE value IS NULL OR value = ''), '{}')
    INTO v_labels, v_absent
    FROM jsonb_each_text(CASE jsonb_typeof(v_match) WHEN 'object' THEN v_match ELSE '{}' END);
    RETURN QUERY
    SELECT s.*
    FROM internal.series AS s
    WHERE s.tenant_id = v_tenant_id
        AND (p_metric IS NULL OR s.name = lower(p_metric COLLATE "C"))
        AND (v_labels = '{}' OR s.labels @> v_labels)
        AND (v_absent = '{}' OR NOT s.labels ?| v_absent);
END
$$;
COMMENT ON FUNCTION internal.matched_series IS
    'Series of the current tenant by metric and labels, as the general functions of api take them';

-- Labels of a series by which an answer is grouped; '*' is all of them. Those it lacks are left out.
CREATE OR REPLACE FUNCTION internal.labels_by(p_labels jsonb, p_by text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN cardinality(p_by) = 0 THEN '{}'
        WHEN '*' = ANY (p_by) THEN p_labels
        ELSE (
            SELECT coalesce(jsonb_object_agg(name, p_labels -> name), '{}')
            FROM unnest(p_by) AS name WHERE p_labels ? name
        )
    END
$$;

-- When metrics had their first and last sample: the minute of it (the hour or day, where minutes are
-- past their retention). Of what has rollups from these, since a year of raw samples is long.
CREATE OR REPLACE FUNCTION internal.metric_ends(p_metrics int[])
RETURNS TABLE (metric_id int, first_sample timestamptz, last_sample timestamptz)
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    v_of record;
BEGIN
    -- Names are looked up together, so each schema by itself: it tells equal names apart.
    FOR v_of IN
        SELECT m.target, m.schema, array_agg(m.metric_id) AS ids, array_agg(m.name::text) AS names
        FROM internal.metric AS m
        WHERE m.metric_id = ANY (p_metrics) AND m.target = ANY (internal.rolled_up_targets())
        GROUP BY 1, 2
    LOOP
        RETURN QUERY EXECUTE format(
            'WITH day AS MATERIALIZED (
                 SELECT r.name, min(r.bucket) AS start
                 FROM %1$I.rollup_1d_between($1, $2, $3, ''-infinity'', ''infinity'') AS r
                 GROUP BY 1
             ), minute AS MATERIALIZED (
                 SELECT r.name, min(r.bucket) AS start
                 FROM (SELECT start, array_agg(name) AS names FROM day GROUP BY 1) AS d
                 CROSS JOIN LATERAL %1$I.rollup_1m_between(
                     $1, $2, d.names, d.start, d.start + interval ''24 hours'') AS r
                 GROUP BY 1
             )
             SELECT k.metric_id, coalesce(minute.start, day.start), l.bucket
             FROM unnest($4, $3) AS k (metric_id, name)
             LEFT JOIN day USING (name)
             LEFT JOIN minute USING (name)
             LEFT JOIN internal.latest_samples(%1$L, $2, $3) AS l USING (name)',
            v_of.target
        ) USING internal.current_tenant_id(), ARRAY[v_of.schema], v_of.names, v_of.ids;
    END LOOP;
    FOR v_of IN
        SELECT m.target, array_agg(m.metric_id) AS ids FROM internal.metric AS m
        WHERE m.metric_id = ANY (p_metrics) AND m.target <> ALL (internal.rolled_up_targets())
        GROUP BY 1
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT s.metric_id,
                 date_bin(''1 minute'', min(e.first), internal.bucket_origin()),
                 date_bin(''1 minute'', max(e.last), internal.bucket_origin())
             FROM internal.series AS s
             CROSS JOIN LATERAL (
                 SELECT %1$I.oldest_time(s.series_id, ''-infinity'', ''infinity'') AS first,
                     %1$I.newest_time(s.series_id, ''-infinity'', ''infinity'') AS last
             ) AS e
             WHERE s.metric_id = ANY ($1) AND e.first IS NOT NULL
             GROUP BY 1', v_of.target
        ) USING v_of.ids;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION api.list_metrics(p_like text DEFAULT NULL)
RETURNS TABLE (
    name text, schema text, target text, type text, unit text, help text, series bigint,
    first_sample timestamptz, last_sample timestamptz, labels text[]
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    WITH metric AS MATERIALIZED (
        SELECT m.* FROM internal.metric AS m
        WHERE m.tenant_id = internal.current_tenant_id()
            AND (p_like IS NULL OR m.name LIKE lower(p_like COLLATE "C"))
    ), family AS MATERIALIZED (
        SELECT DISTINCT ON (lower(f.name)) lower(f.name) AS name, f.type, f.unit, f.help
        FROM internal.metadata AS f
        WHERE f.tenant_id = internal.current_tenant_id()
        ORDER BY lower(f.name), f.first_seen DESC, f.digest
    )
    SELECT m.name, m.schema, m.target, f.type, f.unit, f.help,
        (SELECT count(*) FROM internal.series AS s WHERE s.metric_id = m.metric_id),
        e.first_sample, e.last_sample,
        ARRAY(
            SELECT DISTINCT l.name COLLATE "C"
            FROM (
                SELECT s.labels FROM internal.series AS s
                WHERE s.metric_id = m.metric_id LIMIT 1000
            ) AS part
            CROSS JOIN LATERAL jsonb_object_keys(part.labels) AS l (name)
            WHERE l.name <> '__name__'
            ORDER BY 1
        )
    FROM metric AS m
    LEFT JOIN internal.metric_ends(ARRAY(SELECT metric.metric_id FROM metric)) AS e
        USING (metric_id)
    -- A name of its own goes before that of its family, which it has without what types add to it.
    LEFT JOIN LATERAL (
        SELECT family.type, family.unit, family.help FROM family
        WHERE family.name IN (m.name, regexp_replace(m.name, '_(bucket|count|sum|total|created|info)$', ''))
        ORDER BY family.name <> m.name
        LIMIT 1
    ) AS f ON true
    ORDER BY m.name, m.schema, m.target
$$;

COMMENT ON FUNCTION api.list_metrics(text) IS
'Every metric there is, ordered by name: what senders say of it, its series, labels and period.

One row a metric, schema and target (as routing gave them). p_like is a pattern of SQL''s LIKE for the
name, such as "http_%", in any case; the default is all. name is in lower case; type, unit and help are
what senders said of it or of its family (rpc_seconds for rpc_seconds_bucket), null where nobody said
anything. series is how many there are; labels are names, without __name__, of a thousand of them
(list_labels knows all). first_sample and last_sample are minutes in UTC, of samples that are no stale
markers; where minutes are past their retention first_sample is a day; null where there are no samples.
Measures and events that applications push have functions of their own.

Example: list_metrics(''http_%'')';

CREATE OR REPLACE FUNCTION api.list_labels(p_metric text DEFAULT NULL)
RETURNS TABLE (label text, "values" bigint, series bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    SELECT l.label, count(DISTINCT l.value), count(*)
    FROM internal.matched_series(p_metric, NULL) AS s
    CROSS JOIN LATERAL jsonb_each_text(s.labels) AS l (label, value)
    GROUP BY 1
    ORDER BY l.label COLLATE "C"
$$;

COMMENT ON FUNCTION api.list_labels(text) IS
'Labels of a metric, ordered by name: how many values each has, and how many series have it.

p_metric in any case; the default is all metrics. __name__ is among them: its values are the names of
metrics as sent.

Example: list_labels(''http_requests_total'')';

CREATE OR REPLACE FUNCTION api.list_label_values(
    p_metric text DEFAULT NULL, p_label text DEFAULT '__name__', p_limit int DEFAULT 1000
)
RETURNS TABLE (value text, series bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    SELECT l.value, count(*)
    FROM internal.matched_series(p_metric, NULL) AS s
    CROSS JOIN LATERAL (
        SELECT s.labels ->> coalesce(p_label, '__name__') COLLATE "C" AS value) AS l
    WHERE l.value IS NOT NULL
    GROUP BY 1
    ORDER BY 1
    LIMIT coalesce(p_limit, 1000)
$$;

COMMENT ON FUNCTION api.list_label_values(text, text, int) IS
'Values of a label, ordered by text, and how many series have each.

p_metric in any case, the default is all metrics; p_label is __name__ unless it is given, whose values
are the names of metrics as sent; p_limit values at most, 1,000 unless it is given.

Example: list_label_values(''http_requests_total'', ''job'')';

CREATE OR REPLACE FUNCTION api.list_series(
    p_metric text DEFAULT NULL, p_match jsonb DEFAULT NULL, p_limit int DEFAULT 1000
)
RETURNS TABLE (series_id bigint, schema text, target text, labels jsonb)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    SELECT s.series_id, s.schema, s.target, s.labels
    FROM internal.matched_series(p_metric, p_match) AS s
    ORDER BY s.series_id
    LIMIT coalesce(p_limit, 1000)
$$;

COMMENT ON FUNCTION api.list_series(text, jsonb, int) IS
'Series of a metric with all their labels, in the order in which they were first seen.

p_metric in any case, the default is all metrics; p_match has labels with their values, all of which a
series must have ("" is: has no such label); p_limit series at most, 1,000 unless it is given.

Example: list_series(''http_requests_total'', ''{"job": "api"}'')';

CREATE OR REPLACE FUNCTION api.cardinality(p_limit int DEFAULT 20)
RETURNS TABLE (kind text, name text, series bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    WITH mine AS MATERIALIZED (
        SELECT s.labels, s.created_at FROM internal.matched_series(NULL, NULL) AS s
    ), label AS MATERIALIZED (
        SELECT l.name, l.value, count(*) AS series
        FROM mine CROSS JOIN LATERAL jsonb_each_text(mine.labels) AS l (name, value)
        GROUP BY 1, 2
    )
    SELECT 'all', '', count(*) FROM mine
    UNION ALL
    (SELECT 'metric', l.value, l.series FROM label AS l WHERE l.name = '__name__'
    ORDER BY l.series DESC, l.value COLLATE "C" LIMIT coalesce(p_limit, 20))
    UNION ALL
    (SELECT 'label', l.name, sum(l.series)::bigint FROM label AS l WHERE l.name <> '__name__'
    GROUP BY 2 ORDER BY 3 DESC, l.name COLLATE "C" LIMIT coalesce(p_limit, 20))
    UNION ALL
    (SELECT 'values', l.name, count(*) FROM label AS l WHERE l.name <> '__name__'
    GROUP BY 2 ORDER BY 3 DESC, l.name COLLATE "C" LIMIT coalesce(p_limit, 20))
    UNION ALL
    (SELECT 'new on', to_char(mine.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), count(*)
    FROM mine WHERE mine.created_at IS NOT NULL
    GROUP BY 2 ORDER BY 2 DESC LIMIT coalesce(p_limit, 20))
$$;

COMMENT ON FUNCTION api.cardinality(int) IS
'Where series come from: how many there are by metric and by label, and how many are new each day.

kind says what a row counts, p_limit rows (20 unless it is given) of each but the first:
"all" series; series of the "metric" name, as sent, largest first; series that have the "label" name,
and its different "values", most first; series first stored "new on" the day name (in UTC), newest
first. Series from before this was noted have no such day.

Example: cardinality(10)';

GRANT EXECUTE ON FUNCTION
    api.list_metrics(text), api.list_labels(text), api.list_label_values(text, text, int),
    api.list_series(text, jsonb, int), api.cardinality(int)
TO web_anon, writer;
