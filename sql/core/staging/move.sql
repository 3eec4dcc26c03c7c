-- For each row of internal.staging_way: the way from staging into a table, in the transaction of the
-- COPY. Engines differ in a few pieces only (sql/engines/*/staging/): engine_settings, of the function,
-- mark, by which rollups get to know of new samples, and where rows of samples go.

CREATE OR REPLACE FUNCTION staging_@target@.@move@()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
@engine_settings@
AS $function$
DECLARE
    v_new bigint;
BEGIN
    @before@
    IF current_setting('promgres.duplicates', true) IS DISTINCT FROM 'likely' THEN
        BEGIN
            -- Nearly every batch holds nothing but new rows, and costs half without ON CONFLICT.
            INSERT INTO @target@.@rows_into@ (@columns@)
            SELECT @source@ FROM new_rows AS n
            @rows@;
            GET DIAGNOSTICS v_new = ROW_COUNT;
        EXCEPTION WHEN unique_violation THEN
            v_new := NULL;
        END;
    END IF;
    IF v_new IS NULL THEN
        INSERT INTO @target@.@rows_into@ (@columns@)
        SELECT @source@ FROM new_rows AS n
        @rows@
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_new = ROW_COUNT;
    END IF;
    @after@
    PERFORM set_config('promgres.new_rows', v_new::text, true);
    RETURN NULL;
END
$function$;

COMMENT ON FUNCTION staging_@target@.@move@ IS
    'Moves the rows of one COPY or INSERT; the setting promgres.new_rows says how many were new';

CREATE OR REPLACE TRIGGER @move@
    AFTER INSERT ON staging_@target@.@name@
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION staging_@target@.@move@();
