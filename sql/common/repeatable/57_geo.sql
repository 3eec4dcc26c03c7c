-- Where the instances are.

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
    -- One step into the index for each series, then the newest series of each metric. Each on its
    -- own: metrics of one scrape may fall on both sides of a minute, and no city is lost by it.
    newest AS (
        SELECT DISTINCT ON (series.instance, series.name)
               series.instance, series.name, series.labels, sample.value
        FROM series
        CROSS JOIN LATERAL (
            SELECT x.time, x.value
            FROM geo.sample AS x
            WHERE x.series_id = series.series_id AND x.value <> 'NaN'
            ORDER BY x.time DESC
            LIMIT 1
        ) AS sample
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
