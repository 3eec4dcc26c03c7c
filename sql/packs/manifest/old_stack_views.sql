-- Views with the names and columns of the Telegraf stack that this replaces, for SQL written
-- against it. They show the tenant of the setting promgres.tenant_id, like the functions of api; to
-- a reader (sql_reader) its own. The barrier keeps a reader's conditions from the rows of others;
-- conditions on time and names still reach the tables, their operators are leakproof.

CREATE OR REPLACE VIEW internal.prometheus_remote_write WITH (security_barrier) AS
SELECT time, series_id AS tag_id, name, schema, coalesce(exact, value::text::numeric) AS value
FROM internal.series_sample
WHERE value <> 'NaN' AND tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW internal.prometheus_remote_write IS
    'Samples of target internal as exact decimals, without NaN; tag_id is series_id. On engine postgres a condition on time alone takes all blocks apart, one on name those of that metric: internal.prometheus_remote_write_between(from, to, name) and prometheus_remote_write_last_day read a period';

CREATE OR REPLACE VIEW cumsum.prometheus_remote_write WITH (security_barrier) AS
SELECT time, series_id AS tag_id, name, schema, coalesce(exact, value::text::numeric) AS value
FROM cumsum.series_sample
WHERE value <> 'NaN' AND tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW cumsum.prometheus_remote_write IS
    'Samples of target cumsum as exact decimals, without NaN; tag_id is series_id. On engine postgres a condition on time alone takes all blocks apart, one on name those of that metric: cumsum.prometheus_remote_write_between(from, to, name) and prometheus_remote_write_last_day read a period';

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

CREATE OR REPLACE VIEW internal.prometheus_mainnet_1m WITH (security_barrier) AS
SELECT bucket, name, coalesce(exact_max, last::text::numeric) AS value
FROM internal.rollup_1m
WHERE tenant_id = (SELECT internal.current_tenant_id()) AND schema = 'mainnet';
COMMENT ON VIEW internal.prometheus_mainnet_1m IS 'Minutes of every metric of schema mainnet';

CREATE OR REPLACE VIEW internal.prometheus_testnet_1m WITH (security_barrier) AS
SELECT bucket, name, coalesce(exact_max, last::text::numeric) AS value
FROM internal.rollup_1m
WHERE tenant_id = (SELECT internal.current_tenant_id()) AND schema = 'testnet';
COMMENT ON VIEW internal.prometheus_testnet_1m IS 'Minutes of every metric of schema testnet';

CREATE OR REPLACE VIEW internal.prometheus_common_1m WITH (security_barrier) AS
SELECT bucket, name, coalesce(exact_max, last::text::numeric) AS value
FROM internal.rollup_1m
WHERE tenant_id = (SELECT internal.current_tenant_id()) AND schema = 'common';
COMMENT ON VIEW internal.prometheus_common_1m IS 'Minutes of every metric of schema common';

-- What a join of the old tables gave: their tags were columns, and an exact value stood in one of them,
-- so that each value had a tag_id of its own. Here it is the sample's: only a view of samples can give
-- it back, a view of series would show one supply for all times.
CREATE OR REPLACE VIEW internal.prometheus_remote_write_with_tags WITH (security_barrier) AS
SELECT s.time, s.series_id AS tag_id, s.name, s.schema, s.value::text::numeric AS value,
    s.labels ->> 'host' AS host, s.labels ->> 'instance' AS instance,
    s.labels ->> 'country_name' AS country_name, s.labels ->> 'city' AS city,
    CASE s.name WHEN 'manifest_tokenomics_total_supply'
        THEN coalesce(s.exact::text, s.labels ->> 'supply') ELSE s.labels ->> 'supply'
    END AS supply,
    CASE s.name WHEN 'manifest_tokenomics_excluded_supply'
        THEN coalesce(s.exact::text, s.labels ->> 'excluded_supply')
        ELSE s.labels ->> 'excluded_supply'
    END AS excluded_supply,
    CASE WHEN s.name IN ('locked_tokens', 'locked_fees')
        THEN coalesce(s.exact::text, s.labels ->> 'amount') ELSE s.labels ->> 'amount'
    END AS amount
FROM (SELECT * FROM internal.series_sample UNION ALL SELECT * FROM geo.series_sample) AS s
WHERE s.value <> 'NaN' AND s.tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW internal.prometheus_remote_write_with_tags IS
    'Samples of targets internal and geo with the columns of the old tag table: what a join of the two old tables gave. On engine postgres a condition on time alone takes all blocks apart';

CREATE OR REPLACE VIEW cumsum.prometheus_remote_write_with_tags WITH (security_barrier) AS
SELECT s.time, s.series_id AS tag_id, s.name, s.schema, s.value::text::numeric AS value,
    s.labels ->> 'host' AS host, s.labels ->> 'instance' AS instance,
    s.labels ->> 'country_name' AS country_name, s.labels ->> 'city' AS city
FROM cumsum.series_sample AS s
WHERE s.value <> 'NaN' AND s.tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW cumsum.prometheus_remote_write_with_tags IS
    'Samples of target cumsum with the columns of the old tag table. On engine postgres a condition on time alone takes all blocks apart';

GRANT SELECT ON
    internal.prometheus_remote_write_with_tags, cumsum.prometheus_remote_write_with_tags,
    internal.prometheus_remote_write, cumsum.prometheus_remote_write,
    internal.prometheus_remote_write_tag,
    cumsum.all_metrics_minute, internal.cagg_calculated_metric,
    internal.prometheus_mainnet_1m, internal.prometheus_testnet_1m, internal.prometheus_common_1m
TO sql_reader;
