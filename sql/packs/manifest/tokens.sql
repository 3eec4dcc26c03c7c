-- Token metrics: circulating and burned supply, fully diluted value, market capitalisation.

-- Per bucket with one of the four supplies: total supply (NULL where it has none), and circulating
-- supply, which is the total less the other three. A missing one counts 0.
CREATE OR REPLACE FUNCTION internal.token_supplies(
    p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (bucket timestamptz, total numeric, circulating numeric)
LANGUAGE sql STABLE STRICT
AS $$
    SELECT m.bucket,
           max(m.value) FILTER (WHERE m.name = 'manifest_tokenomics_total_supply'),
           sum(CASE m.name WHEN 'manifest_tokenomics_total_supply' THEN m.value ELSE -m.value END)
    FROM internal.metric_maxima(
        ARRAY[p_schema],
        ARRAY['manifest_tokenomics_total_supply', 'manifest_tokenomics_excluded_supply',
              'locked_tokens', 'locked_fees'],
        p_interval, p_from, p_to
    ) AS m
    GROUP BY m.bucket
$$;

-- Per bucket the largest power conversion of any schema.
CREATE OR REPLACE FUNCTION internal.token_conversions(
    p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (bucket timestamptz, conversion numeric)
LANGUAGE sql STABLE STRICT
AS $$
    SELECT m.bucket, m.value
    FROM internal.metric_maxima(
        internal.metric_schemas('internal', 'talib_mfx_power_conversion'),
        ARRAY['talib_mfx_power_conversion'], p_interval, p_from, p_to
    ) AS m
$$;

-- Per bucket with one of the four supplies: circulating supply, market capitalisation, and fully
-- diluted value (NULL where the bucket has no total supply). Without a conversion values are 0.
CREATE OR REPLACE FUNCTION internal.token_values(
    p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (bucket timestamptz, circulating numeric, fdv numeric, market_cap numeric)
LANGUAGE sql STABLE STRICT
AS $$
    SELECT s.bucket,
           s.circulating,
           CASE WHEN s.total IS NOT NULL THEN coalesce(s.total * c.conversion, 0) END,
           coalesce(s.circulating * c.conversion, 0)
    FROM internal.token_supplies(p_schema, p_interval, p_from, p_to) AS s
    LEFT JOIN internal.token_conversions(p_interval, p_from, p_to) AS c USING (bucket)
$$;

CREATE OR REPLACE FUNCTION api.get_agg_circulating_supply(
    p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT s.bucket, internal.decimal_text(s.circulating)
    FROM internal.token_supplies(p_schema, p_interval, p_from, p_to) AS s
    ORDER BY s.bucket
$$;

CREATE OR REPLACE FUNCTION api.get_agg_burned_supply(
    p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT m.bucket, internal.decimal_text(m.value)
    FROM internal.metric_maxima(
        ARRAY[p_schema], ARRAY['total_mfx_burned'], p_interval, p_from, p_to
    ) AS m
    ORDER BY m.bucket
$$;

CREATE OR REPLACE FUNCTION api.get_agg_fdv(
    p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT v.bucket, internal.decimal_text(v.fdv)
    FROM internal.token_values(p_schema, p_interval, p_from, p_to) AS v
    WHERE v.fdv IS NOT NULL
    ORDER BY v.bucket
$$;

CREATE OR REPLACE FUNCTION api.get_agg_market_cap(
    p_schema text, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE ("timestamp" timestamptz, value text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT v.bucket, internal.decimal_text(v.market_cap)
    FROM internal.token_values(p_schema, p_interval, p_from, p_to) AS v
    ORDER BY v.bucket
$$;

COMMENT ON FUNCTION api.get_agg_circulating_supply(text, interval, timestamptz, timestamptz) IS
'Circulating supply in each bucket of time, oldest first.

The largest manifest_tokenomics_total_supply of the bucket, less the largest
manifest_tokenomics_excluded_supply, locked_tokens and locked_fees, all of schema p_schema (such as
mainnet or testnet), in the smallest unit of the token: an exact decimal as text. A missing one
counts 0; a bucket with none of the four has no row.

Samples with p_from <= time < p_to count. Buckets of p_interval (see get_agg_metric) in UTC;
timestamp is the start of a bucket.

Example: get_agg_circulating_supply(''mainnet'', ''1 day'', ''2026-01-01T00:00Z'', ''2026-02-01T00:00Z'')';

COMMENT ON FUNCTION api.get_agg_burned_supply(text, interval, timestamptz, timestamptz) IS
'Burned supply in each bucket of time, oldest first.

The largest total_mfx_burned of schema p_schema (such as mainnet or testnet) in the bucket, in the
unit of that metric: an exact decimal as text. A bucket without one has no row.

Samples with p_from <= time < p_to count. Buckets of p_interval (see get_agg_metric) in UTC;
timestamp is the start of a bucket.

Example: get_agg_burned_supply(''mainnet'', ''1 day'', ''2026-01-01T00:00Z'', ''2026-02-01T00:00Z'')';

COMMENT ON FUNCTION api.get_agg_fdv(text, interval, timestamptz, timestamptz) IS
'Fully diluted value in each bucket of time, oldest first.

The largest manifest_tokenomics_total_supply of schema p_schema times the largest
talib_mfx_power_conversion of any schema in the bucket: an exact decimal as text, 0 where the bucket
has no conversion. A bucket without a total supply has no row.

Samples with p_from <= time < p_to count. Buckets of p_interval (see get_agg_metric) in UTC;
timestamp is the start of a bucket.

Example: get_agg_fdv(''mainnet'', ''1 day'', ''2026-01-01T00:00Z'', ''2026-02-01T00:00Z'')';

COMMENT ON FUNCTION api.get_agg_market_cap(text, interval, timestamptz, timestamptz) IS
'Market capitalisation in each bucket of time, oldest first.

The circulating supply (see get_agg_circulating_supply) of schema p_schema times the largest
talib_mfx_power_conversion of any schema in the bucket: an exact decimal as text, 0 where the bucket
has no conversion. A bucket with none of the four supplies has no row.

Samples with p_from <= time < p_to count. Buckets of p_interval (see get_agg_metric) in UTC;
timestamp is the start of a bucket.

Example: get_agg_market_cap(''mainnet'', ''1 day'', ''2026-01-01T00:00Z'', ''2026-02-01T00:00Z'')';

GRANT EXECUTE ON FUNCTION
    api.get_agg_circulating_supply(text, interval, timestamptz, timestamptz),
    api.get_agg_burned_supply(text, interval, timestamptz, timestamptz),
    api.get_agg_fdv(text, interval, timestamptz, timestamptz),
    api.get_agg_market_cap(text, interval, timestamptz, timestamptz)
TO web_anon, writer;
