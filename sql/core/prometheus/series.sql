-- What Prometheus' API asks of series. Called by the read side's own login, with the request's tenant
-- as a setting; readers have no right to any of it.

DROP FUNCTION IF EXISTS internal.find_series(text[], jsonb, int);  -- that of earlier versions

-- Regular expressions and inequalities are the caller's, on the labels: the dialect is RE2's. Labels
-- are a question of their own: a caller knows most of them.
CREATE OR REPLACE FUNCTION internal.matching_series(p_names text[], p_labels jsonb, p_limit int)
RETURNS TABLE (target text, series_ids bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
BEGIN
    RETURN QUERY
    SELECT x.target::text, array_send(array_agg(x.series_id))
    FROM (
        SELECT s.series_id, s.target
        FROM internal.series AS s
        WHERE s.tenant_id = internal.current_tenant_id()
            AND (p_names IS NULL OR s.name = ANY (p_names))
            AND s.labels @> p_labels
        LIMIT p_limit
    ) AS x
    GROUP BY x.target;
END
$function$;
COMMENT ON FUNCTION internal.matching_series IS
    'Series of the current tenant whose name in lower case is one of p_names (null: any) and that have these labels: up to p_limit, their ids by target as array_send makes them';

CREATE OR REPLACE FUNCTION internal.labels_of_series(p_series bigint[])
RETURNS TABLE (series_id bigint, labels text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.series_id, s.labels::text
    FROM internal.series AS s
    WHERE s.series_id = ANY (p_series) AND s.tenant_id = internal.current_tenant_id()
$$;
COMMENT ON FUNCTION internal.labels_of_series IS
    'Labels of those of these series that are the current tenant''s';

CREATE OR REPLACE FUNCTION internal.page_of_series(
    p_names text[], p_labels jsonb, p_after bigint, p_limit int
)
RETURNS TABLE (series_id bigint, target text, schema text, labels text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
BEGIN
    RETURN QUERY
    SELECT s.series_id, s.target::text, s.schema::text, s.labels::text
    FROM internal.series AS s
    WHERE s.tenant_id = internal.current_tenant_id()
        AND (p_names IS NULL OR s.name = ANY (p_names))
        AND s.labels @> p_labels
        AND s.series_id > p_after
    ORDER BY s.series_id
    LIMIT p_limit;
END
$function$;
COMMENT ON FUNCTION internal.page_of_series IS
    'As matching_series, by their ids: the next p_limit after p_after';

CREATE OR REPLACE FUNCTION internal.own_series(p_series bigint[])
RETURNS bigint[]
LANGUAGE sql STABLE STRICT
AS $$
    SELECT coalesce(array_agg(s.series_id), '{}')
    FROM internal.series AS s
    WHERE s.series_id = ANY (p_series) AND s.tenant_id = internal.current_tenant_id()
$$;
COMMENT ON FUNCTION internal.own_series IS 'Those of these series that are the current tenant''s';

CREATE OR REPLACE FUNCTION internal.exemplars_of_series(
    p_series bigint[], p_from timestamptz, p_to timestamptz, p_limit int
)
RETURNS TABLE (series_id bigint, "time" timestamptz, value float8, labels text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.series_id, e.time, e.value, e.labels::text
    FROM internal.exemplars_of(
        internal.own_series(p_series), p_from, p_to + interval '1 microsecond'
    ) AS e
    ORDER BY e.series_id, e.time, e.value
    LIMIT p_limit
$$;
COMMENT ON FUNCTION internal.exemplars_of_series IS
    'Exemplars of series of the current tenant with p_from <= time <= p_to';

CREATE OR REPLACE FUNCTION internal.packed_starts(p_series bigint[], p_to timestamptz)
RETURNS TABLE (series_id bigint, starts bytea)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.series_id, array_send(array_agg(s.start_time ORDER BY s.start_time))
    FROM internal.series_start AS s
    WHERE s.series_id = ANY (internal.own_series(p_series)) AND s.start_time < p_to
    GROUP BY s.series_id
$$;
COMMENT ON FUNCTION internal.packed_starts IS
    'When counting of series of the current tenant began, each time before p_to, the earliest first: arrays as array_send makes them';

CREATE OR REPLACE FUNCTION internal.packed_histogram_starts(
    p_series bigint[], p_from timestamptz, p_to timestamptz
)
RETURNS TABLE (series_id bigint, times bytea, starts bytea)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT h.series_id, array_send(array_agg(h.time ORDER BY h.time)),
        array_send(array_agg(h.start_time ORDER BY h.time))
    FROM internal.histograms_between(p_from, p_to + interval '1 microsecond') AS h
    WHERE h.series_id = ANY (internal.own_series(p_series)) AND h.start_time IS NOT NULL
    GROUP BY h.series_id
$$;
COMMENT ON FUNCTION internal.packed_histogram_starts IS
    'Native histograms of series of the current tenant with p_from <= time <= p_to that said when counting began: their times, the earliest first, and that; parallel arrays as array_send makes them';

CREATE OR REPLACE FUNCTION internal.metadata_of(p_name text)
RETURNS TABLE (name text, type text, unit text, help text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.name, m.type, m.unit, m.help
    FROM internal.metadata AS m
    WHERE m.tenant_id = internal.current_tenant_id() AND (p_name IS NULL OR m.name = p_name)
    ORDER BY m.name, m.first_seen DESC, m.digest
$$;
COMMENT ON FUNCTION internal.metadata_of IS
    'All that senders of the current tenant said of their metrics, or of one: the newest first';

CREATE OR REPLACE FUNCTION internal.label_names()
RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT l.name
    FROM internal.series AS s
    CROSS JOIN LATERAL jsonb_object_keys(s.labels) AS l (name)
    WHERE s.tenant_id = internal.current_tenant_id()
$$;
COMMENT ON FUNCTION internal.label_names IS 'Names of labels of all series of the current tenant';

CREATE OR REPLACE FUNCTION internal.label_values(p_label text)
RETURNS SETOF text
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT s.labels ->> p_label
    FROM internal.series AS s
    WHERE s.tenant_id = internal.current_tenant_id() AND s.labels ? p_label
$$;
COMMENT ON FUNCTION internal.label_values IS
    'Values of a label of all series of the current tenant';

CREATE OR REPLACE FUNCTION internal.cardinality(p_limit int)
RETURNS TABLE (kind text, name text, value bigint)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH mine AS MATERIALIZED (
        SELECT s.labels FROM internal.series AS s
        WHERE s.tenant_id = internal.current_tenant_id()
    ), pairs AS MATERIALIZED (
        SELECT l.name, l.value, count(*) AS series
        FROM mine CROSS JOIN LATERAL jsonb_each_text(mine.labels) AS l (name, value)
        GROUP BY l.name, l.value
    )
    SELECT 'head', 'numSeries', count(*) FROM mine
    UNION ALL
    SELECT 'head', 'numLabelPairs', count(*) FROM pairs
    UNION ALL
    (SELECT 'metric', p.value, p.series FROM pairs AS p
    WHERE p.name = '__name__' ORDER BY p.series DESC, p.value LIMIT p_limit)
    UNION ALL
    (SELECT 'label', p.name, count(*) FROM pairs AS p
    GROUP BY p.name ORDER BY 3 DESC, 2 LIMIT p_limit)
    UNION ALL
    (SELECT 'bytes', p.name, sum(octet_length(p.value))::bigint FROM pairs AS p
    GROUP BY p.name ORDER BY 3 DESC, 2 LIMIT p_limit)
    UNION ALL
    (SELECT 'pair', p.name || '=' || p.value, p.series FROM pairs AS p
    ORDER BY 3 DESC, 2 LIMIT p_limit)
$$;
COMMENT ON FUNCTION internal.cardinality IS
    'What the current tenant has most of: series in all (head), series by metric, values and their bytes by label, series by pair of label and value; p_limit of each';

REVOKE ALL ON FUNCTION
    internal.matching_series(text[], jsonb, int),
    internal.labels_of_series(bigint[]),
    internal.page_of_series(text[], jsonb, bigint, int),
    internal.exemplars_of_series(bigint[], timestamptz, timestamptz, int),
    internal.packed_starts(bigint[], timestamptz),
    internal.packed_histogram_starts(bigint[], timestamptz, timestamptz),
    internal.metadata_of(text),
    internal.label_names(),
    internal.label_values(text),
    internal.cardinality(int)
FROM PUBLIC;
GRANT USAGE ON SCHEMA internal TO authenticator, promgres_api;
GRANT EXECUTE ON FUNCTION
    internal.matching_series(text[], jsonb, int),
    internal.labels_of_series(bigint[]),
    internal.page_of_series(text[], jsonb, bigint, int),
    internal.exemplars_of_series(bigint[], timestamptz, timestamptz, int),
    internal.packed_starts(bigint[], timestamptz),
    internal.packed_histogram_starts(bigint[], timestamptz, timestamptz),
    internal.metadata_of(text),
    internal.label_names(),
    internal.label_values(text),
    internal.cardinality(int)
TO authenticator, promgres_api;
