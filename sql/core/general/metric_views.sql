-- A relation a metric, made on request: its samples with a column a label.

-- What a metric's view is called: as the metric was sent; that of another tenant than "default" has
-- its name behind it, after an @.
CREATE OR REPLACE FUNCTION internal.metric_view_name(p_name text, p_tenant text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v_view text := p_name || CASE p_tenant WHEN 'default' THEN '' ELSE '@' || p_tenant END;
BEGIN
    IF octet_length(v_view) > 63 THEN
        RAISE EXCEPTION 'a view cannot be called %: names in PostgreSQL have 63 bytes at most',
            internal.quoted(v_view) USING ERRCODE = 'name_too_long';
    END IF;
    RETURN v_view;
END
$$;

-- Two labels cannot have a column of their own name.
CREATE OR REPLACE FUNCTION internal.label_column(p_label text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
AS $$ SELECT CASE WHEN p_label IN ('time', 'value') THEN 'label_' || p_label ELSE p_label END $$;

CREATE OR REPLACE FUNCTION internal.create_metric_view(p_name text, p_tenant text DEFAULT 'default')
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant_id int := (internal.tenant_named(p_tenant)).tenant_id;
    v_view      text := internal.metric_view_name(p_name, p_tenant);
    v_old       text[];
    v_columns   text;
    v_targets   text[];
    v_queries   text[];
BEGIN
    SELECT array_agg(DISTINCT s.target::text) INTO v_targets
    FROM internal.series AS s
    WHERE s.tenant_id = v_tenant_id AND s.name = lower(p_name COLLATE "C")
        AND s.labels ->> '__name__' = p_name;
    IF v_targets IS NULL THEN
        RAISE EXCEPTION 'tenant % has no metric %', internal.quoted(p_tenant), internal.quoted(p_name)
            USING ERRCODE = 'undefined_object',
                  HINT = 'Names are as sent, in upper and lower case: SELECT value FROM api.list_label_values().';
    END IF;
    -- What a view has stays where it is, new labels come behind it: so REPLACE wants it.
    SELECT array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attnum > 2) INTO v_old
    FROM pg_attribute AS a
    WHERE a.attrelid = to_regclass(format('metric.%I', v_view)) AND NOT a.attisdropped;
    SELECT string_agg(format(', s.labels ->> %L AS %I', label, name),
        '' ORDER BY array_position(v_old, name), name COLLATE "C")
    INTO v_columns
    FROM (
        SELECT DISTINCT l.label, internal.label_column(l.label) AS name
        FROM internal.series AS s CROSS JOIN LATERAL jsonb_object_keys(s.labels) AS l (label)
        WHERE s.tenant_id = v_tenant_id AND s.name = lower(p_name COLLATE "C")
            AND s.labels ->> '__name__' = p_name AND l.label <> '__name__'
            AND octet_length(l.label) <= 63  -- a longer one cannot be the name of a column
        UNION
        -- Labels that no series has any more keep their columns.
        SELECT regexp_replace(gone, '^label_(time|value)$', '\1'), gone FROM unnest(v_old) AS gone
    ) AS labels;
    -- The view, and the same of a period, which a condition on the view's time does not tell to blocks.
    SELECT array_agg(q.text ORDER BY q.n) INTO v_queries
    FROM (
        SELECT way.n, string_agg(format($sql$
            SELECT s.time, coalesce(s.exact, s.value::text::numeric) AS value%s
            FROM %I.%s AS s
            WHERE s.tenant_id = %s AND s.name = %L AND s.labels ->> '__name__' = %L
                AND s.value <> 'NaN'
                AND coalesce(%s = (SELECT internal.reader_tenant_id()), true)
        $sql$, v_columns, target, way.source, v_tenant_id, lower(p_name COLLATE "C"), p_name,
            v_tenant_id), ' UNION ALL ') AS text
        FROM unnest(v_targets) AS target,
            (VALUES (1, 'series_sample'), (2, 'series_samples_between($1, $2)')) AS way (n, source)
        GROUP BY way.n
    ) AS q;
    EXECUTE format('CREATE OR REPLACE VIEW metric.%I WITH (security_barrier) AS ', v_view) || v_queries[1];
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION metric.%1$I(p_from timestamptz, p_to timestamptz)'
        ' RETURNS SETOF metric.%1$I LANGUAGE plpgsql STABLE SECURITY DEFINER'
        ' SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan'
        ' SET extra_float_digits = 1 AS %2$L',
        v_view, format('BEGIN RETURN QUERY %s; END', v_queries[2]));
    EXECUTE format('COMMENT ON FUNCTION metric.%1$I IS %2$L', v_view, format(
        'What metric.%I has with p_from <= time < p_to', v_view));
    EXECUTE format('GRANT EXECUTE ON FUNCTION metric.%I(timestamptz, timestamptz) TO sql_reader', v_view);
    EXECUTE format('COMMENT ON VIEW metric.%I IS %L', v_view, format(
        'Samples of metric %s of tenant %s as exact decimals, without NaN; a column a label. On engine postgres a condition on time takes all its blocks apart: metric.%I(from, to) reads a period',
        p_name, p_tenant, v_view));
    EXECUTE format('GRANT SELECT ON metric.%I TO sql_reader', v_view);
    RETURN format('metric.%I', v_view);
END
$function$;
COMMENT ON FUNCTION internal.create_metric_view IS
    'Makes the view metric."name" of a metric (name as sent) of a tenant, or adds labels that are new to it: time, value, a column a label; and the function of that name, which reads a period; returns what they are called';

CREATE OR REPLACE FUNCTION internal.drop_metric_view(p_name text, p_tenant text DEFAULT 'default')
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE format('DROP FUNCTION IF EXISTS metric.%1$I(timestamptz, timestamptz); DROP VIEW metric.%1$I',
        internal.metric_view_name(p_name, p_tenant));
END
$function$;
COMMENT ON FUNCTION internal.drop_metric_view IS
    'Drops what create_metric_view made; nothing of the metric itself goes';

GRANT USAGE ON SCHEMA metric TO sql_reader;

-- Those that there are read what they read when they were made.
SELECT internal.create_metric_view(s.name, t.name)
FROM pg_class AS c
CROSS JOIN app.tenant AS t
CROSS JOIN LATERAL (
    SELECT CASE t.name WHEN 'default' THEN c.relname
        ELSE left(c.relname, -length('@' || t.name)) END::text AS name
) AS s
WHERE c.relnamespace = 'metric'::regnamespace AND c.relkind = 'v'
    AND internal.metric_view_name(s.name, t.name) = c.relname
    AND EXISTS (
        SELECT FROM internal.series AS x
        WHERE x.tenant_id = t.tenant_id AND x.name = lower(s.name COLLATE "C")
            AND x.labels ->> '__name__' = s.name);
