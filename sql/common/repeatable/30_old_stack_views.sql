-- Views with the names and columns of the Telegraf stack that this replaces, for SQL written
-- against it. They show the tenant of the setting promgres.tenant_id, like the functions of api; to
-- a reader (sql_reader) its own. The barrier keeps a reader's conditions from the rows of others;
-- conditions on time and names still reach the tables, their operators are leakproof.

CREATE OR REPLACE VIEW internal.prometheus_remote_write WITH (security_barrier) AS
SELECT x.time, x.series_id AS tag_id, s.name, s.schema,
    coalesce(x.exact, x.value::text::numeric) AS value
FROM internal.sample x
JOIN internal.series s USING (series_id)
WHERE x.value <> 'NaN' AND s.tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW internal.prometheus_remote_write IS
    'Samples of target internal as exact decimals, without NaN; tag_id is series_id';

CREATE OR REPLACE VIEW cumsum.prometheus_remote_write WITH (security_barrier) AS
SELECT x.time, x.series_id AS tag_id, s.name, s.schema,
    coalesce(x.exact, x.value::text::numeric) AS value
FROM cumsum.sample x
JOIN internal.series s USING (series_id)
WHERE x.value <> 'NaN' AND s.tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW cumsum.prometheus_remote_write IS
    'Samples of target cumsum as exact decimals, without NaN; tag_id is series_id';

CREATE OR REPLACE VIEW internal.prometheus_remote_write_tag WITH (security_barrier) AS
SELECT series_id AS tag_id, labels
FROM internal.series
WHERE tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW internal.prometheus_remote_write_tag IS
    'Labels of the series of all targets; tag_id is series_id';

CREATE OR REPLACE VIEW cumsum.all_metrics_minute WITH (security_barrier) AS
SELECT bucket, name, schema, sum AS sum_value
FROM cumsum.rollup_1m
WHERE tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW cumsum.all_metrics_minute IS 'Sum of each cumulative metric''s minute';

CREATE OR REPLACE VIEW internal.cagg_calculated_metric WITH (security_barrier) AS
SELECT bucket, name, schema, coalesce(exact_max, last::text::numeric) AS value
FROM internal.rollup_1m
WHERE tenant_id = (SELECT internal.current_tenant_id())
    AND name IN (
        'manifest_tokenomics_total_supply', 'manifest_tokenomics_excluded_supply',
        'locked_tokens', 'locked_fees', 'total_mfx_burned', 'talib_mfx_power_conversion'
    );
COMMENT ON VIEW internal.cagg_calculated_metric IS
    'Minutes of the six metrics that supply, FDV and market cap are calculated from';

DO $create$
DECLARE
    v_schema text;
BEGIN
    FOREACH v_schema IN ARRAY ARRAY['mainnet', 'testnet', 'common'] LOOP
        EXECUTE format($view$
CREATE OR REPLACE VIEW internal.prometheus_%1$s_1m WITH (security_barrier) AS
SELECT bucket, name, coalesce(exact_max, last::text::numeric) AS value
FROM internal.rollup_1m
WHERE tenant_id = (SELECT internal.current_tenant_id()) AND schema = %1$L;
COMMENT ON VIEW internal.prometheus_%1$s_1m IS 'Minutes of every metric of schema %1$s';
        $view$, v_schema);
    END LOOP;
END
$create$;

CREATE OR REPLACE VIEW geo.latest_coords WITH (security_barrier) AS
WITH newest AS (
    -- Newest sample of every geo series: one step into an index each.
    SELECT s.tenant_id, s.name, s.labels ->> 'instance' AS instance, s.labels, s.series_id, x.time
    FROM internal.series s
    CROSS JOIN LATERAL (
        SELECT time FROM geo.sample
        WHERE sample.series_id = s.series_id AND value <> 'NaN'
        ORDER BY time DESC
        LIMIT 1
    ) AS x
    WHERE s.target = 'geo'
        AND coalesce(s.tenant_id = (SELECT internal.reader_tenant_id()), true)
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
            '2000-01-03 00:00+00'
        ) AS bucket
    FROM newest
    GROUP BY tenant_id, instance
    HAVING bool_or(name = 'manifest_geo_latitude') AND bool_or(name = 'manifest_geo_longitude')
)
SELECT place.bucket, place.tenant_id, place.instance, latitude.value AS latitude,
    longitude.value AS longitude, metadata.country_name, metadata.city
FROM place
CROSS JOIN LATERAL (
    SELECT value FROM newest
    JOIN geo.sample USING (series_id)
    WHERE newest.tenant_id = place.tenant_id
        AND newest.instance IS NOT DISTINCT FROM place.instance
        AND newest.name = 'manifest_geo_latitude'
        AND sample.time >= place.bucket AND sample.time < place.bucket + interval '1 minute'
        AND value <> 'NaN'
    ORDER BY sample.time DESC, series_id DESC
    LIMIT 1
) AS latitude
CROSS JOIN LATERAL (
    SELECT value FROM newest
    JOIN geo.sample USING (series_id)
    WHERE newest.tenant_id = place.tenant_id
        AND newest.instance IS NOT DISTINCT FROM place.instance
        AND newest.name = 'manifest_geo_longitude'
        AND sample.time >= place.bucket AND sample.time < place.bucket + interval '1 minute'
        AND value <> 'NaN'
    ORDER BY sample.time DESC, series_id DESC
    LIMIT 1
) AS longitude
LEFT JOIN LATERAL (
    SELECT labels ->> 'country_name' AS country_name, labels ->> 'city' AS city
    FROM newest
    WHERE newest.tenant_id = place.tenant_id
        AND newest.instance IS NOT DISTINCT FROM place.instance
        AND newest.name = 'manifest_geo_metadata'
    ORDER BY newest.time DESC, series_id DESC
    LIMIT 1
) AS metadata ON true;
COMMENT ON VIEW geo.latest_coords IS
    'Where each instance is: coordinates of its newest minute, country and city of its metadata';
