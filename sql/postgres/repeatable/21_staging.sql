-- The way from staging into the partitioned tables, in the transaction of the COPY.

DO $create$
DECLARE
    v_target text;
    v_mark   text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum', 'geo'] LOOP
        -- geo has no rollups.
        v_mark := CASE WHEN v_target <> 'geo' THEN $mark$
    IF v_new > 0 THEN
        SELECT array_agg(DISTINCT date_bin('1 minute', time, '2000-01-03 00:00+00'))
        INTO v_minutes FROM new_rows;
        PERFORM internal.mark_samples(
            '@target@', v_minutes,
            CASE WHEN cardinality(v_minutes) > 60
                THEN ARRAY(SELECT DISTINCT series_id FROM new_rows) END
        );
    END IF;$mark$ ELSE '' END;

        EXECUTE replace(replace($template$
CREATE OR REPLACE FUNCTION staging_@target@.move_samples()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_new     bigint;
    v_minutes timestamptz[];
BEGIN
    IF current_setting('promgres.duplicates', true) IS DISTINCT FROM 'likely' THEN
        BEGIN
            -- Nearly every batch holds nothing but new rows, and costs half without ON CONFLICT.
            INSERT INTO @target@.sample (time, series_id, value, exact)
            SELECT time, series_id, value, exact FROM new_rows;
            GET DIAGNOSTICS v_new = ROW_COUNT;
        EXCEPTION WHEN unique_violation THEN
            v_new := NULL;
        END;
    END IF;
    IF v_new IS NULL THEN
        INSERT INTO @target@.sample (time, series_id, value, exact)
        SELECT time, series_id, value, exact FROM new_rows
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_new = ROW_COUNT;
    END IF;@mark@
    PERFORM set_config('promgres.new_rows', v_new::text, true);
    RETURN NULL;
END
$function$;

COMMENT ON FUNCTION staging_@target@.move_samples IS
    'Moves the rows of one COPY or INSERT; the setting promgres.new_rows says how many were new';

CREATE OR REPLACE TRIGGER move_samples
    AFTER INSERT ON staging_@target@.sample
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION staging_@target@.move_samples();
$template$, '@mark@', v_mark), '@target@', v_target);
    END LOOP;
END
$create$;
