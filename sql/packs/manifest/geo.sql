-- Once, filled in: where the instances are.

CREATE OR REPLACE FUNCTION api.get_latest_geo_coordinates()
RETURNS TABLE (latitude float8, longitude float8, country_name text, city text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    WITH series AS (
        SELECT s.series_id, s.name, s.labels, coalesce(s.labels ->> 'instance', '') AS instance
        FROM internal.series AS s
        WHERE s.tenant_id = internal.current_tenant_id() AND s.target = 'geo'
            AND s.name IN (
                'manifest_geo_latitude', 'manifest_geo_longitude', 'manifest_geo_metadata')
    ),
    -- The newest sample of each series, then the newest series of each metric. Each on its own:
    -- metrics of one scrape may fall on both sides of a minute, and no city is lost by it.
    newest AS (
        SELECT DISTINCT ON (series.instance, series.name)
               series.instance, series.name, series.labels,
               sample.value::float8 AS value
        FROM series
        JOIN internal.newest_of(
            ARRAY(SELECT 'geo'::text FROM series), ARRAY(SELECT series_id FROM series)
        ) AS sample USING (series_id)
        ORDER BY series.instance, series.name, sample.time DESC, series.series_id DESC
    )
    SELECT latitude.value, longitude.value,
           metadata.labels ->> 'country_name', metadata.labels ->> 'city'
    FROM newest AS latitude
    JOIN newest AS longitude USING (instance)
    LEFT JOIN newest AS metadata
        ON metadata.instance = latitude.instance AND metadata.name = 'manifest_geo_metadata'
    WHERE latitude.name = 'manifest_geo_latitude' AND longitude.name = 'manifest_geo_longitude'
    ORDER BY latitude.instance COLLATE "C"
$$;

COMMENT ON FUNCTION api.get_latest_geo_coordinates() IS
'Where each instance is, one row an instance, ordered by its label "instance".

latitude and longitude are the newest values of manifest_geo_latitude and manifest_geo_longitude, in
degrees; country_name and city are labels of the newest manifest_geo_metadata, null where there is
none. Each is the newest by itself, so that coordinates and metadata that were written in different
minutes still meet. An instance without one of the coordinates has no row.

Example: get_latest_geo_coordinates()';

GRANT EXECUTE ON FUNCTION api.get_latest_geo_coordinates() TO web_anon, writer;

-- As the stack had it that this replaces, for SQL written against it: see old_stack_views.sql. A reader
-- may call what its view calls, and gets its own.
CREATE OR REPLACE FUNCTION geo.newest_places()
RETURNS TABLE (
    bucket timestamptz, tenant_id int, instance text, latitude float8, longitude float8,
    country_name text, city text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    WITH series AS MATERIALIZED (
        SELECT * FROM internal.series
        WHERE target = 'geo' AND coalesce(tenant_id = (SELECT internal.reader_tenant_id()), true)
    ),
    newest AS MATERIALIZED (
        SELECT s.tenant_id, s.name, s.labels ->> 'instance' AS instance, s.labels, s.series_id, n.time
        FROM series AS s
        JOIN internal.newest_of(
            ARRAY(SELECT 'geo'::text FROM series), ARRAY(SELECT series_id FROM series)
        ) AS n USING (series_id)
    ),
    -- The newest minute that both coordinates have reached.
    place AS (
        SELECT tenant_id, instance,
            date_bin(
                '1 minute',
                least(
                    max(time) FILTER (WHERE name = 'manifest_geo_latitude'),
                    max(time) FILTER (WHERE name = 'manifest_geo_longitude')
                ),
                @origin@
            ) AS bucket
        FROM newest
        GROUP BY tenant_id, instance
        HAVING bool_or(name = 'manifest_geo_latitude') AND bool_or(name = 'manifest_geo_longitude')
    )
    SELECT place.bucket, place.tenant_id, place.instance, coordinates.latitude,
        coordinates.longitude, metadata.country_name, metadata.city
    FROM place
    CROSS JOIN LATERAL (
        SELECT max(v.value) FILTER (WHERE c.name = 'manifest_geo_latitude') AS latitude,
            max(v.value) FILTER (WHERE c.name = 'manifest_geo_longitude') AS longitude
        FROM (VALUES ('manifest_geo_latitude'), ('manifest_geo_longitude')) AS c (name)
        CROSS JOIN LATERAL (
            SELECT x.value
            FROM geo.samples_between(place.bucket, place.bucket + interval '1 minute') AS x
            WHERE x.value <> 'NaN' AND x.series_id = ANY (ARRAY(
                SELECT newest.series_id FROM newest
                WHERE newest.tenant_id = place.tenant_id
                    AND newest.instance IS NOT DISTINCT FROM place.instance
                    AND newest.name = c.name))
            ORDER BY x.time DESC, x.series_id DESC
            LIMIT 1
        ) AS v
        HAVING count(*) = 2
    ) AS coordinates
    LEFT JOIN LATERAL (
        SELECT labels ->> 'country_name' AS country_name, labels ->> 'city' AS city
        FROM newest
        WHERE newest.tenant_id = place.tenant_id
            AND newest.instance IS NOT DISTINCT FROM place.instance
            AND newest.name = 'manifest_geo_metadata'
        ORDER BY newest.time DESC, series_id DESC
        LIMIT 1
    ) AS metadata ON true
$$;
COMMENT ON FUNCTION geo.newest_places IS
    'What geo.latest_coords shows: a reader gets its own tenant''s, all others every tenant''s';

CREATE OR REPLACE VIEW geo.latest_coords WITH (security_barrier) AS
SELECT * FROM geo.newest_places();
COMMENT ON VIEW geo.latest_coords IS
    'Where each instance is: coordinates of its newest minute, country and city of its metadata';

GRANT EXECUTE ON FUNCTION geo.newest_places() TO sql_reader;
GRANT SELECT ON geo.latest_coords TO sql_reader;
