-- What writes past staging calls, on every engine.

CREATE OR REPLACE FUNCTION internal.mark_samples(
    p_target text, p_minutes timestamptz[], p_series bigint[]
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF p_series IS NOT NULL THEN
        PERFORM internal.mark_hours(p_target, p_minutes, p_series);
    END IF;
END
$function$;
COMMENT ON FUNCTION internal.mark_samples IS
    'Marks hours of series; continuous aggregates keep account of what was written themselves';

CREATE OR REPLACE PROCEDURE internal.end_samples(
    p_writer uuid, p_mark bigint, p_life_here text, p_target text, p_minutes timestamptz[]
)
LANGUAGE plpgsql
AS $procedure$
BEGIN
    CALL internal.end_writing(p_writer, p_mark, p_life_here);
END
$procedure$;
COMMENT ON PROCEDURE internal.end_samples IS
    'As end_writing: of current samples nothing is marked';

CREATE OR REPLACE FUNCTION internal.late_state(
    p_target text, p_series bigint[],
    OUT taken bigint, OUT metrics int[], OUT hours_before int
)
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT NULL::bigint, NULL::int[], internal.day_of_hours(h.marked_before)
    FROM internal.hours_state AS h WHERE h.target = p_target
$function$;
COMMENT ON FUNCTION internal.late_state IS
    'What a writer of late samples has to know of a target: the day (since 1970) before which hours of series are marked; metrics need no marks';

CREATE OR REPLACE PROCEDURE internal.mark_late(
    p_target text, p_taken bigint, p_metrics int[], p_minutes int[], p_bits bigint[],
    p_standing_metrics text, p_standing_minutes text, p_standing_bits text,
    p_from_day int, p_series bigint[], p_days int[]
)
LANGUAGE plpgsql
AS $procedure$
BEGIN
    IF p_from_day IS NOT NULL THEN
        CALL internal.mark_days(p_target, p_from_day, p_series, p_days);
    END IF;
END
$procedure$;
COMMENT ON PROCEDURE internal.mark_late IS
    'Marks hours of series, as mark_days does, unless p_from_day is null';
