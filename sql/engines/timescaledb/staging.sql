-- The way from staging into the hypertables, in the transaction of the COPY.

CREATE OR REPLACE FUNCTION internal.mark_samples(
    p_target text, p_minutes timestamptz[], p_series bigint[]
)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $function$
$function$;
COMMENT ON FUNCTION internal.mark_samples IS
    'Nothing: continuous aggregates keep account of what was written';

DO $create$
DECLARE
    v_way record;
BEGIN
    FOR v_way IN
        SELECT target, name, 'move_' || name || 's' AS move,
            string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns,
            string_agg(
                CASE attname
                    WHEN 'labels_hash' THEN 'jsonb_hash_extended(labels, 0)'
                    ELSE quote_ident(attname)
                END, ', ' ORDER BY attnum) AS source
        FROM internal.store
        JOIN pg_attribute ON attrelid = format('%I.%I', target, name)::regclass
        WHERE target <> 'app' AND attnum > 0 AND NOT attisdropped
        GROUP BY target, name
    LOOP
        -- Late rows may fall into compressed chunks, any number of them.
        EXECUTE replace(replace(replace(replace(replace($template$
CREATE OR REPLACE FUNCTION staging_@target@.@move@()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0
AS $function$
DECLARE
    v_new bigint;
BEGIN
    IF current_setting('promgres.duplicates', true) IS DISTINCT FROM 'likely' THEN
        BEGIN
            -- Nearly every batch holds nothing but new rows, and costs half without ON CONFLICT.
            INSERT INTO @target@.@name@ (@columns@)
            SELECT @source@ FROM new_rows;
            GET DIAGNOSTICS v_new = ROW_COUNT;
        EXCEPTION WHEN unique_violation THEN
            v_new := NULL;
        END;
    END IF;
    IF v_new IS NULL THEN
        INSERT INTO @target@.@name@ (@columns@)
        SELECT @source@ FROM new_rows
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_new = ROW_COUNT;
    END IF;
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
$template$,
            '@target@', v_way.target),
            '@name@', v_way.name),
            '@move@', v_way.move),
            '@columns@', v_way.columns),
            '@source@', v_way.source);
    END LOOP;
END
$create$;
