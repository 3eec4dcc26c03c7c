-- For each row of internal.sample_end: when a series begins, or ends.

CREATE OR REPLACE FUNCTION @target@.@which@_time(
    p_series bigint, p_from timestamptz, p_to timestamptz
)
RETURNS timestamptz
LANGUAGE sql STABLE
AS $function$
    SELECT @best@(x.time) FROM @target@.sample AS x
    WHERE x.series_id = p_series AND x.time >= p_from AND x.time < p_to AND x.value <> 'NaN'
$function$;
COMMENT ON FUNCTION @target@.@which@_time IS
    'When a series has its @which@ sample with p_from <= time < p_to that is not NaN';
