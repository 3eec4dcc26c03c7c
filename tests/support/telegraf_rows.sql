-- Rows of @minutes@ minutes up to @until@ in Telegraf's tables: of every schema, with supplies and
-- coordinates among the tags.

INSERT INTO internal.excluded_addresses (value) VALUES ('manifest1b'), ('manifest1a');

-- What is in one minute: m counts them. A supply changes every hour, and its tag_id with it. Of several
-- samples of one time nobody knows which is the last: those of node_up have a second each.
CREATE TEMP VIEW what AS
SELECT m, each.*, '@until@'::timestamptz - (@minutes@ - m) * interval '1 minute'
    + CASE name WHEN 'node_up' THEN tag_id - 100 ELSE 0 END * interval '1 second' AS time
FROM generate_series(1, @minutes@) AS m, LATERAL (
    SELECT 'node_up' AS name, 'common' AS schema, 100 + n AS tag_id, 'node-' || n AS instance,
        (((m * 7 + n) % 100) * 0.1)::numeric AS value, NULL AS country_name, NULL AS city,
        NULL AS supply, NULL AS excluded_supply, NULL AS amount
    FROM generate_series(1, 3) AS n
    UNION ALL
    SELECT 'talib_mfx_power_conversion', 'common', 110, 'oracle', 0.613 + m * 0.00001,
        NULL, NULL, NULL, NULL, NULL
    UNION ALL
    SELECT 'total_mfx_burned', tier, 111, 'chain',
        (135304300855652060000 + m * 100000::bigint)::float8::text::numeric, NULL, NULL, NULL, NULL, NULL
    FROM unnest(ARRAY['mainnet', 'testnet']) AS tier
    UNION ALL
    SELECT 'manifest_tokenomics_total_supply', tier, 1000000 + m / 60, 'chain', 1, NULL, NULL,
        (987654321098765432101 + m / 60)::text, NULL, NULL
    FROM unnest(ARRAY['mainnet', 'testnet']) AS tier
    UNION ALL
    SELECT 'manifest_tokenomics_excluded_supply', tier, 2000000 + m / 60, 'chain', 1, NULL, NULL,
        NULL, (987000000000000000003 + m / 60)::text, NULL
    FROM unnest(ARRAY['mainnet', 'testnet']) AS tier
    UNION ALL
    SELECT locked, 'mainnet', 3000000 + m / 60, 'chain', 1, NULL, NULL,
        NULL, NULL, (15000001 + m / 60)::text
    FROM unnest(ARRAY['locked_tokens', 'locked_fees']) AS locked
    UNION ALL
    SELECT coordinate.name, 'geo', 120 + n, 'node-' || n, coordinate.value,
        CASE WHEN coordinate.name LIKE '%metadata' THEN 'Country ' || n END,
        CASE WHEN coordinate.name LIKE '%metadata' THEN 'City ''' || n END, NULL, NULL, NULL
    FROM generate_series(1, 2) AS n, (VALUES
        ('manifest_geo_latitude', 45.5019), ('manifest_geo_longitude', -73.5674)
    ) AS coordinate (name, value)
    UNION ALL
    SELECT 'manifest_geo_metadata', 'geo', 130 + n, 'node-' || n, 1,
        'Country ' || n, 'City ''' || n, NULL, NULL, NULL
    FROM generate_series(1, 2) AS n
) AS each;

CREATE TEMP VIEW what_sums AS
SELECT '@until@'::timestamptz - (@minutes@ - m) * interval '1 minute' AS time, 140 + n AS tag_id,
    name, 'web-' || n AS instance, (m % 60 + n) * 0.25 AS value
FROM generate_series(1, @minutes@) AS m, generate_series(1, 2) AS n,
    unnest(ARRAY['web_requests', 'system_tcp_sent']) AS name;

INSERT INTO internal.prometheus_remote_write_tag
SELECT DISTINCT tag_id, 'telegraf', instance, country_name, city, supply, excluded_supply, amount
FROM what;
INSERT INTO internal.prometheus_remote_write_tag (tag_id, host, instance)
SELECT DISTINCT tag_id, 'telegraf', instance FROM what_sums;
INSERT INTO internal.prometheus_remote_write SELECT time, tag_id, name, schema, value FROM what;
INSERT INTO cumsum.prometheus_remote_write
SELECT time, tag_id, name, 'cumsum', value FROM what_sums;
