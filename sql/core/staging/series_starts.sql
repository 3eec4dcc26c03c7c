-- The way of start timestamps from staging into their table, in the transaction of the COPY.

CREATE OR REPLACE FUNCTION staging_internal.move_series_starts()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_new bigint;
BEGIN
    -- In key order, so that two writers wait for each other, never in a circle.
    INSERT INTO internal.series_start (series_id, start_time)
    SELECT series_id, start_time FROM new_rows
    ORDER BY series_id, start_time
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_new = ROW_COUNT;
    PERFORM set_config('promgres.new_rows', v_new::text, true);
    RETURN NULL;
END
$function$;

COMMENT ON FUNCTION staging_internal.move_series_starts IS
    'Moves the rows of one COPY or INSERT; the setting promgres.new_rows says how many were new';

CREATE OR REPLACE TRIGGER move_series_starts
    AFTER INSERT ON staging_internal.series_start
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION staging_internal.move_series_starts();
