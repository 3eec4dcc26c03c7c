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
