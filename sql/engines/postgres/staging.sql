-- The way from staging into the partitioned tables, in the transaction of the COPY.

DO $create$
DECLARE
    v_way  record;
    v_mark text;
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
        -- Only these have rollups.
        v_mark := CASE WHEN v_way.name = 'sample' AND v_way.target <> 'geo' THEN $mark$
    IF v_new > 0 THEN
        SELECT array_agg(DISTINCT date_bin('1 minute', time, '2000-01-03 00:00+00'))
                FILTER (WHERE time >= v_late_before),
            bool_or(time < v_late_before)
        INTO v_minutes, v_is_late FROM new_rows;
        PERFORM internal.mark_samples('@target@', v_minutes, NULL);
        IF v_is_late THEN
            INSERT INTO @target@.rollup_mark (hour, minute, metric_id, minutes)
            SELECT date_bin('1 hour', r.minute, '2000-01-03 00:00+00'), max(r.minute),
                s.metric_id, bit_or(internal.minute_bit(r.minute))
            FROM (
                SELECT DISTINCT date_bin('1 minute', time, '2000-01-03 00:00+00') AS minute,
                    series_id
                FROM new_rows WHERE time < v_late_before
            ) AS r
            JOIN internal.series AS s USING (series_id)
            GROUP BY 1, 3;
        END IF;
    END IF;$mark$ ELSE '' END;

        EXECUTE replace(replace(replace(replace(replace(replace($template$
CREATE OR REPLACE FUNCTION staging_@target@.@move@()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_new         bigint;
    v_late_before timestamptz := internal.late_before();
    v_minutes     timestamptz[];
    v_is_late     boolean;
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
    END IF;@mark@
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
            '@mark@', v_mark),
            '@target@', v_way.target),
            '@name@', v_way.name),
            '@move@', v_way.move),
            '@columns@', v_way.columns),
            '@source@', v_way.source);
    END LOOP;
END
$create$;
