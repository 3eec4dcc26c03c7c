-- The way of measures and events from staging into their tables, in the transaction of the COPY.

DO $create$
DECLARE
    v_way record;
BEGIN
    FOR v_way IN
        SELECT name, 'move_' || name || 's' AS move,
            string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns
        FROM internal.store
        JOIN pg_attribute ON attrelid = format('%I.%I', target, name)::regclass
        WHERE target = 'app' AND attnum > 0 AND NOT attisdropped
        GROUP BY name
    LOOP
        EXECUTE replace(replace(replace($template$
CREATE OR REPLACE FUNCTION staging_app.@move@()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_new bigint;
BEGIN
    -- Everything goes in key order, so that two writers wait for each other, never in a circle.
    IF EXISTS (SELECT FROM new_rows WHERE key_decides) THEN
        INSERT INTO app.idempotency (tenant_id, store, item_id, time)
        SELECT tenant_id, '@name@', item_id, min(time) FROM new_rows
        WHERE key_decides
        GROUP BY tenant_id, item_id
        ORDER BY tenant_id, item_id
        ON CONFLICT DO NOTHING;
    END IF;

    IF current_setting('promgres.duplicates', true) IS DISTINCT FROM 'likely' THEN
        BEGIN
            -- Nearly every batch holds nothing but new rows, and costs less without ON CONFLICT.
            INSERT INTO app.@name@ (@columns@)
            SELECT @columns@ FROM new_rows AS n
            WHERE NOT key_decides OR time = (
                SELECT i.time FROM app.idempotency AS i
                WHERE i.tenant_id = n.tenant_id AND i.store = '@name@' AND i.item_id = n.item_id)
            ORDER BY tenant_id, time, item_id;
            GET DIAGNOSTICS v_new = ROW_COUNT;
        EXCEPTION WHEN unique_violation THEN
            v_new := NULL;
        END;
    END IF;
    IF v_new IS NULL THEN
        INSERT INTO app.@name@ (@columns@)
        SELECT @columns@ FROM new_rows AS n
        WHERE NOT key_decides OR time = (
            SELECT i.time FROM app.idempotency AS i
            WHERE i.tenant_id = n.tenant_id AND i.store = '@name@' AND i.item_id = n.item_id)
        ORDER BY tenant_id, time, item_id
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_new = ROW_COUNT;
    END IF;
    PERFORM set_config('promgres.new_rows', v_new::text, true);
    RETURN NULL;
END
$function$;

COMMENT ON FUNCTION staging_app.@move@ IS
    'Moves the rows of one COPY or INSERT; the setting promgres.new_rows says how many were new';

CREATE OR REPLACE TRIGGER @move@
    AFTER INSERT ON staging_app.@name@
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION staging_app.@move@();
$template$,
            '@name@', v_way.name),
            '@move@', v_way.move),
            '@columns@', v_way.columns);
    END LOOP;
END
$create$;

-- A trigger of its own, so that events pay nothing for it. Names are nearly always known.
CREATE OR REPLACE FUNCTION staging_app.note_measure_names()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO app.measure_name (tenant_id, target, metric, schema, name)
    SELECT sent.*
    FROM (
        SELECT tenant_id, target, lower(name COLLATE "C") AS metric, schema, name
        FROM (SELECT DISTINCT tenant_id, target, schema, name FROM new_rows) AS names
    ) AS sent
    WHERE NOT EXISTS (
        SELECT FROM app.measure_name AS known
        WHERE known.tenant_id = sent.tenant_id AND known.target = sent.target
            AND known.metric = sent.metric AND known.schema = sent.schema
            AND known.name = sent.name
    )
    ORDER BY tenant_id, target, metric, schema, name
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$function$;

COMMENT ON FUNCTION staging_app.note_measure_names IS
    'Notes the names of one COPY or INSERT that app.measure_name does not have yet';

CREATE OR REPLACE TRIGGER note_measure_names
    AFTER INSERT ON staging_app.measure
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION staging_app.note_measure_names();

CREATE OR REPLACE FUNCTION internal.drop_expired_idempotency(p_limit int DEFAULT 20000)
RETURNS int
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH dropped AS (
        DELETE FROM app.idempotency
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM app.idempotency
            WHERE time < now() - interval '168 hours'
            ORDER BY time
            LIMIT p_limit
        ))
        RETURNING 1
    )
    SELECT count(*)::int FROM dropped
$function$;
COMMENT ON FUNCTION internal.drop_expired_idempotency IS
    'Deletes up to p_limit idempotency keys that are a week old: what is sent with one again is new';
