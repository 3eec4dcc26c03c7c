-- For each row of internal.sample_target: samples of a period. On this engine it is no
-- more than a filter, which reaches the chunks.

CREATE OR REPLACE FUNCTION @target@.samples_between(p_from timestamptz, p_to timestamptz)
RETURNS TABLE ("time" timestamptz, series_id bigint, value float8, exact numeric)
LANGUAGE sql STABLE
AS $function$
    SELECT x.time, x.series_id, x.value, x.exact
    FROM @target@.sample AS x
    WHERE x.time >= p_from AND x.time < p_to
$function$;
COMMENT ON FUNCTION @target@.samples_between IS
    'Samples with p_from <= time < p_to; the planner sees through it';
