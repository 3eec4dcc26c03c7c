-- Measures and events for /rpc and for SQL.

CREATE OR REPLACE FUNCTION api.get_measures(
    p_name text DEFAULT NULL, p_from timestamptz DEFAULT NULL, p_to timestamptz DEFAULT NULL,
    p_attributes jsonb DEFAULT NULL, p_limit int DEFAULT 100,
    p_before_time timestamptz DEFAULT NULL, p_before_id uuid DEFAULT NULL
) RETURNS TABLE ("timestamp" timestamptz, name text, value text, attributes jsonb, item_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT r.time, r.name, internal.decimal_text(r.value), r.attributes, r.item_id
    FROM internal.pushed_rows(
        'measure', p_name, p_from, p_to, p_attributes, p_limit, p_before_time, p_before_id
    ) AS r
$$;

COMMENT ON FUNCTION api.get_measures(
    text, timestamptz, timestamptz, jsonb, int, timestamptz, uuid) IS
'Measures that applications pushed, newest first.

Every argument may be left out: p_name is a name as sent, in its case; p_from <= time < p_to;
p_attributes is what the attributes must contain, such as {"host": "a"}; p_limit how many at most (100,
null for all). value is the number as sent, decimal text without trailing zeros.

For the next page give the timestamp and the item_id of the last row as p_before_time and p_before_id:
no row is skipped or repeated, however many have one time.

Example: get_measures(''queue_length'', p_from => ''2026-01-01T00:00Z'', p_attributes => ''{"host": "a"}'')';

CREATE OR REPLACE FUNCTION api.get_events(
    p_name text DEFAULT NULL, p_from timestamptz DEFAULT NULL, p_to timestamptz DEFAULT NULL,
    p_attributes jsonb DEFAULT NULL, p_limit int DEFAULT 100,
    p_before_time timestamptz DEFAULT NULL, p_before_id uuid DEFAULT NULL
) RETURNS TABLE ("timestamp" timestamptz, name text, attributes jsonb, item_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    SELECT r.time, r.name, r.attributes, r.item_id
    FROM internal.pushed_rows(
        'event', p_name, p_from, p_to, p_attributes, p_limit, p_before_time, p_before_id
    ) AS r
$$;

COMMENT ON FUNCTION api.get_events(
    text, timestamptz, timestamptz, jsonb, int, timestamptz, uuid) IS
'Events that applications pushed, newest first.

Every argument may be left out: p_name is a name as sent, in its case; p_from <= time < p_to;
p_attributes is what the attributes must contain, such as {"user": "a"}; p_limit how many at most (100,
null for all). For the next page give the timestamp and the item_id of the last row as p_before_time
and p_before_id: no row is skipped or repeated, however many have one time.

Example: get_events(''login'', p_attributes => ''{"user": "a"}'', p_limit => 10)';

CREATE OR REPLACE FUNCTION api.get_measure_buckets(
    p_interval interval, p_name text DEFAULT NULL, p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL, p_attributes jsonb DEFAULT NULL, p_limit int DEFAULT 100
) RETURNS TABLE (
    "timestamp" timestamptz, name text, count bigint, sum text, min text, max text, avg text,
    last text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT b.bucket, b.name, b.count, internal.decimal_text(b.sum), internal.decimal_text(b.min),
        internal.decimal_text(b.max), internal.decimal_text(b.avg), internal.decimal_text(b.last)
    FROM internal.bucketed_measures(p_name, p_from, p_to, p_attributes, p_interval, p_limit) AS b
$$;

COMMENT ON FUNCTION api.get_measure_buckets(
    interval, text, timestamptz, timestamptz, jsonb, int) IS
'Measures that applications pushed in each bucket of time, newest first.

One row a bucket and name, ordered by name within the bucket. count, sum, min, max and last are exact, avg has 16 digits or more; all but count are decimal text.
last is of the newest time in the bucket. p_interval as with get_agg_metric; timestamp is the start of a
bucket, in UTC, and a bucket without measures has no row. The other arguments may be left out: p_name is a
name as sent, in its case; p_from <= time < p_to; p_attributes is what the attributes must contain,
p_limit how many rows at most (100, null for all).

Example: get_measure_buckets(''1 hour'', ''queue_length'', p_attributes => ''{"host": "a"}'')';

GRANT USAGE ON SCHEMA internal TO authenticator, promgres_api;
GRANT EXECUTE ON FUNCTION
    internal.pushed_page(
        text, text, text, timestamptz, timestamptz, jsonb, int, timestamptz, uuid),
    internal.measure_buckets(text, timestamptz, timestamptz, jsonb, interval, int)
TO authenticator, promgres_api;
