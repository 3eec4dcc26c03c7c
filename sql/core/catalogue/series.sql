-- Series by identity, by name, and how many there are.

-- In key order, as all that creates metrics or series, so that two of them wait for each other,
-- never in a circle.
CREATE OR REPLACE FUNCTION internal.create_metrics(
    p_tenant_id int[],
    p_target    text[],
    p_schema    text[],
    p_name      text[]
)
RETURNS void
LANGUAGE sql
AS $function$
    INSERT INTO internal.metric (tenant_id, target, schema, name)
    SELECT DISTINCT g.tenant_id, g.target COLLATE "C", g.schema COLLATE "C", g.name COLLATE "C"
    FROM unnest(p_tenant_id, p_target, p_schema, p_name) AS g (tenant_id, target, schema, name)
    WHERE NOT EXISTS (
        SELECT FROM internal.metric m
        WHERE (m.tenant_id, m.target, m.schema, m.name)
            = (g.tenant_id, g.target, g.schema, g.name)
    )
    ORDER BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING
$function$;
COMMENT ON FUNCTION internal.create_metrics IS
    'Creates those metrics that are missing';

CREATE OR REPLACE FUNCTION internal.spare_series(p_identity bytea[])
RETURNS void
LANGUAGE plpgsql
AS $function$
BEGIN
    IF EXISTS (SELECT FROM internal.doomed_series) THEN
        -- In key order. Who removes some of them at this moment is waited for.
        PERFORM FROM internal.doomed_series d
        JOIN internal.series s USING (series_id)
        WHERE s.identity = ANY (p_identity)
        ORDER BY d.series_id
        FOR UPDATE OF d;
        DELETE FROM internal.doomed_series d
        USING internal.series s
        WHERE s.series_id = d.series_id AND s.identity = ANY (p_identity);
    END IF;
END
$function$;
COMMENT ON FUNCTION internal.spare_series IS
    'Series that somebody asks for are no longer doomed, see removal.sql';

CREATE OR REPLACE FUNCTION internal.reserve_series(
    p_identity  bytea[],
    p_tenant_id int[],
    p_target    text[],
    p_schema    text[],
    p_name      text[],
    OUT known      bigint[],
    OUT reserved   bigint[],
    OUT metric_ids int[]
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM internal.spare_series(p_identity);
    known := ARRAY(
        SELECT s.series_id
        FROM unnest(p_identity) WITH ORDINALITY AS given (identity, number)
        LEFT JOIN internal.series s USING (identity)
        ORDER BY given.number
    );
    IF array_position(known, NULL) IS NULL THEN
        RETURN;
    END IF;
    reserved := ARRAY(
        SELECT nextval('internal.series_series_id_seq')
        FROM generate_series(1, cardinality(array_positions(known, NULL)))
    );
    PERFORM internal.create_metrics(p_tenant_id, p_target, p_schema, p_name);
    metric_ids := ARRAY(
        SELECT m.metric_id
        FROM unnest(p_tenant_id, p_target, p_schema, p_name)
            WITH ORDINALITY AS given (tenant_id, target, schema, name, number)
        JOIN internal.metric m USING (tenant_id, target, schema, name)
        ORDER BY given.number
    );
END
$function$;
COMMENT ON FUNCTION internal.reserve_series IS
    'known: the id of the series of each identity, null where there is none. For those that are missing: reserved, an id for each, and metric_ids, of the metrics that the other arguments are. Who copies them into internal.series does it in the order of identities';

CREATE OR REPLACE FUNCTION internal.resolve_series(
    p_identity  bytea[],
    p_tenant_id int[],
    p_target    text[],
    p_name      text[],
    p_schema    text[],
    p_labels    text[]
)
RETURNS TABLE (identity bytea, series_id bigint)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
    PERFORM internal.spare_series(p_identity);
    IF EXISTS (
        SELECT FROM unnest(p_identity) AS given (identity)
        WHERE NOT EXISTS (SELECT FROM internal.series s WHERE s.identity = given.identity)
    ) THEN
        PERFORM internal.create_metrics(p_tenant_id, p_target, p_schema, p_name);

        INSERT INTO internal.series (metric_id, tenant_id, target, name, schema, labels, identity)
        SELECT m.metric_id, g.tenant_id, g.target, g.name, g.schema, g.labels::jsonb, g.identity
        FROM (
            SELECT DISTINCT ON (u.identity) u.*
            FROM unnest(p_identity, p_tenant_id, p_target, p_name, p_schema, p_labels)
                AS u (identity, tenant_id, target, name, schema, labels)
            WHERE NOT EXISTS (SELECT FROM internal.series s WHERE s.identity = u.identity)
            ORDER BY u.identity
        ) AS g
        JOIN internal.metric m USING (tenant_id, target, schema, name)
        ORDER BY g.identity
        ON CONFLICT (identity) DO NOTHING;
    END IF;

    RETURN QUERY
    SELECT s.identity, s.series_id FROM internal.series s WHERE s.identity = ANY (p_identity);
END
$function$;
COMMENT ON FUNCTION internal.resolve_series IS
    'Ids of series by identity; missing ones are created. Labels come as the text of a JSON object';

-- By way of the tenant's metrics: only an index of series by metric is there, and a count up to a
-- limit reads no further.
CREATE OR REPLACE FUNCTION internal.count_series(p_tenant_id int, p_most bigint)
RETURNS bigint
LANGUAGE sql
STABLE
AS $function$
    SELECT count(*)
    FROM (
        SELECT FROM internal.metric m
        JOIN internal.series s USING (metric_id)
        WHERE m.tenant_id = p_tenant_id
        LIMIT p_most
    ) AS counted
$function$;
COMMENT ON FUNCTION internal.count_series IS
    'How many series a tenant has, counted up to p_most';

-- Series of the current tenant, of whatever target; none is an empty array.
CREATE OR REPLACE FUNCTION internal.series_of(p_metric_name text, p_schema text) RETURNS bigint[]
LANGUAGE sql STABLE STRICT
AS $$
    SELECT coalesce(array_agg(s.series_id), '{}')
    FROM internal.series AS s
    WHERE s.tenant_id = internal.current_tenant_id()
        AND s.name = lower(p_metric_name COLLATE "C") AND s.schema = p_schema
$$;
