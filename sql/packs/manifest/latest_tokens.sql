-- The newest of the token metrics.

-- Start of the newest minute that has any of these metrics; NULL where there is none.
CREATE OR REPLACE FUNCTION internal.newest_minute(p_schema text, VARIADIC p_names text[])
RETURNS timestamptz
LANGUAGE sql STABLE STRICT
AS $$
    SELECT max(l.bucket) FROM internal.latest_values('internal', ARRAY[p_schema], p_names) AS l
$$;

CREATE OR REPLACE FUNCTION internal.newest_supply_minute(p_schema text)
RETURNS timestamptz
LANGUAGE sql STABLE STRICT
AS $$
    SELECT internal.newest_minute(
        p_schema, 'manifest_tokenomics_total_supply', 'manifest_tokenomics_excluded_supply',
        'locked_tokens', 'locked_fees'
    )
$$;

-- Token values of the newest minute with a supply, and of the newest with a total supply: one
-- minute or two, newest first, none older than a day.
CREATE OR REPLACE FUNCTION internal.latest_token_values(p_schema text)
RETURNS TABLE (bucket timestamptz, circulating numeric, fdv numeric, market_cap numeric)
LANGUAGE sql STABLE STRICT
AS $$
    SELECT v.*
    FROM (
        SELECT internal.newest_supply_minute(p_schema)
        UNION
        SELECT internal.newest_minute(p_schema, 'manifest_tokenomics_total_supply')
    ) AS newest (minute)
    CROSS JOIN internal.token_values(
        p_schema, '1 minute', greatest(newest.minute, now() - interval '24 hours'),
        newest.minute + interval '1 minute'
    ) AS v
    ORDER BY v.bucket DESC
$$;

CREATE OR REPLACE FUNCTION api.get_latest_circulating_supply(p_schema text)
RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT s.bucket, internal.decimal_text(s.circulating)
    FROM internal.newest_supply_minute(p_schema) AS minute
    CROSS JOIN internal.token_supplies(
        p_schema, '1 minute', greatest(minute, now() - interval '24 hours'),
        minute + interval '1 minute'
    ) AS s
$$;

CREATE OR REPLACE FUNCTION api.get_latest_burned_supply(p_schema text)
RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT m.bucket, internal.decimal_text(m.value)
    FROM internal.newest_minute(p_schema, 'total_mfx_burned') AS minute
    CROSS JOIN internal.metric_maxima(
        ARRAY[p_schema], ARRAY['total_mfx_burned'], '1 minute',
        greatest(minute, now() - interval '24 hours'), minute + interval '1 minute'
    ) AS m
$$;

CREATE OR REPLACE FUNCTION api.get_latest_fdv(p_schema text)
RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT v.bucket, internal.decimal_text(v.fdv)
    FROM internal.newest_minute(p_schema, 'manifest_tokenomics_total_supply') AS minute
    CROSS JOIN internal.token_values(
        p_schema, '1 minute', greatest(minute, now() - interval '24 hours'),
        minute + interval '1 minute'
    ) AS v
    WHERE v.fdv IS NOT NULL
$$;

CREATE OR REPLACE FUNCTION api.get_latest_market_cap(p_schema text)
RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT v.bucket, internal.decimal_text(v.market_cap)
    FROM internal.newest_supply_minute(p_schema) AS minute
    CROSS JOIN internal.token_values(
        p_schema, '1 minute', greatest(minute, now() - interval '24 hours'),
        minute + interval '1 minute'
    ) AS v
$$;

COMMENT ON FUNCTION api.get_latest_circulating_supply(text) IS
'Circulating supply of the newest minute of the last day.

What get_agg_circulating_supply says for the newest minute that has one of the four supplies of
schema p_schema; no row if there is none within the last 24 hours. timestamp is the start of that
minute; the value is an exact decimal as text, in the smallest unit of the token.

Example: get_latest_circulating_supply(''mainnet'')';

COMMENT ON FUNCTION api.get_latest_burned_supply(text) IS
'Burned supply of the newest minute of the last day.

What get_agg_burned_supply says for the newest minute that has a total_mfx_burned of schema
p_schema; no row if there is none within the last 24 hours. timestamp is the start of that minute;
the value is an exact decimal as text, in the unit of that metric.

Example: get_latest_burned_supply(''mainnet'')';

COMMENT ON FUNCTION api.get_latest_fdv(text) IS
'Fully diluted value of the newest minute of the last day.

What get_agg_fdv says for the newest minute that has a total supply of schema p_schema; no row if
there is none within the last 24 hours. timestamp is the start of that minute; the value is an exact
decimal as text, 0 where that minute has no conversion.

Example: get_latest_fdv(''mainnet'')';

COMMENT ON FUNCTION api.get_latest_market_cap(text) IS
'Market capitalisation of the newest minute of the last day.

What get_agg_market_cap says for the newest minute that has one of the four supplies of schema
p_schema; no row if there is none within the last 24 hours. timestamp is the start of that minute;
the value is an exact decimal as text, 0 where that minute has no conversion.

Example: get_latest_market_cap(''mainnet'')';

CREATE OR REPLACE FUNCTION api.get_all_latest_token_metrics(p_schema text)
RETURNS TABLE ("timestamp" timestamptz, table_name text, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT DISTINCT ON (metric.position)
           l.bucket, metric.table_name, internal.decimal_text(metric.value)
    FROM internal.latest_token_values(p_schema) AS l
    CROSS JOIN LATERAL (
        VALUES (1, 'circulating_supply', l.circulating), (2, 'fdv', l.fdv),
               (3, 'market_cap', l.market_cap)
    ) AS metric (position, table_name, value)
    WHERE metric.value IS NOT NULL
    ORDER BY metric.position, l.bucket DESC
$$;

COMMENT ON FUNCTION api.get_all_latest_token_metrics(text) IS
'Circulating supply, FDV and market cap of the newest minute of the last day, in this order.

table_name is circulating_supply, fdv or market_cap; timestamp and value are those of
get_latest_circulating_supply, get_latest_fdv and get_latest_market_cap for schema p_schema. One
that has no row there has none here.

Example: get_all_latest_token_metrics(''mainnet'')';

CREATE OR REPLACE FUNCTION api.get_latest_mainnet_circulating_supply_value()
RETURNS numeric
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT internal.decimal_text(s.circulating)::numeric
    FROM internal.newest_supply_minute('mainnet') AS minute
    CROSS JOIN internal.token_supplies(
        'mainnet', '1 minute', minute, minute + interval '1 minute'
    ) AS s
$$;

COMMENT ON FUNCTION api.get_latest_mainnet_circulating_supply_value() IS
'Newest circulating supply of mainnet, as a bare number.

What get_agg_circulating_supply says for the newest minute that has one of the four supplies of
schema mainnet, however old it is: an exact number in the smallest unit of the token, null where
there is none. Read it with a decoder that keeps all digits.

Example: get_latest_mainnet_circulating_supply_value()';

CREATE OR REPLACE FUNCTION api.get_latest_mainnet_total_supply_value()
RETURNS numeric
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT internal.decimal_text(s.total)::numeric
    FROM internal.newest_minute('mainnet', 'manifest_tokenomics_total_supply') AS minute
    CROSS JOIN internal.token_supplies(
        'mainnet', '1 minute', minute, minute + interval '1 minute'
    ) AS s
$$;

COMMENT ON FUNCTION api.get_latest_mainnet_total_supply_value() IS
'Newest total supply of mainnet, as a bare number.

The largest manifest_tokenomics_total_supply of the newest minute of schema mainnet that has one,
however old it is: an exact number in the smallest unit of the token, null where there is none.
Read it with a decoder that keeps all digits.

Example: get_latest_mainnet_total_supply_value()';

GRANT EXECUTE ON FUNCTION
    api.get_latest_circulating_supply(text),
    api.get_latest_burned_supply(text),
    api.get_latest_fdv(text),
    api.get_latest_market_cap(text),
    api.get_all_latest_token_metrics(text),
    api.get_latest_mainnet_circulating_supply_value(),
    api.get_latest_mainnet_total_supply_value()
TO web_anon, writer;
