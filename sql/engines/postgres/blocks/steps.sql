-- Irregular steps: where in them a time is.

CREATE OR REPLACE FUNCTION internal.is_reached(p_steps int[], p_after interval)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
AS $function$
DECLARE
    v_ms   numeric := 1000 * extract(epoch FROM p_after);
    v_left bigint := v_ms;
    v_step int;
BEGIN
    IF v_left <> v_ms THEN  -- between two milliseconds there is none
        RETURN false;
    END IF;
    -- A loop of plpgsql takes a fifteenth of what a sum by window over unnest does.
    FOREACH v_step IN ARRAY p_steps LOOP
        v_left := v_left - v_step;
        IF v_left <= 0 THEN
            RETURN v_left = 0;
        END IF;
    END LOOP;
    RETURN false;
END
$function$;
COMMENT ON FUNCTION internal.is_reached IS
    'Whether some first of p_steps, in milliseconds, none of which but the first is 0, add up to p_after';
