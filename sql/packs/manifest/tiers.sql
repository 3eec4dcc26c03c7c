-- For each row of internal.manifest_tier: the newest of a tier.

CREATE OR REPLACE FUNCTION api.get_all_latest_@tier@_metrics()
RETURNS TABLE ("timestamp" timestamptz, table_name text, value text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT l.bucket, l.name, internal.decimal_text(l.value)
    FROM internal.latest_values(
        'internal', ARRAY['@tier@'], internal.metric_names('internal', ARRAY['@tier@'])
    ) AS l
    ORDER BY l.name COLLATE "C"
$$;

COMMENT ON FUNCTION api.get_all_latest_@tier@_metrics() IS
'Last value of every metric of schema @tier@, one row a metric, ordered by name.

table_name is the name of the metric in lower case. The value is the newest exact value of its
newest minute if that has one, else the value of its newest sample (of several at one time, that of
the newest series), as decimal text in the unit of the metric. timestamp is the start of that minute
(of the day, where the minutes of a long silent metric are past their retention).

Example: get_all_latest_@tier@_metrics()';

GRANT EXECUTE ON FUNCTION api.get_all_latest_@tier@_metrics() TO web_anon, writer;
