-- The way of metadata from staging into its table, in the transaction of the COPY.

CREATE OR REPLACE FUNCTION staging_internal.move_metadata()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_new bigint;
BEGIN
    -- In key order, so that two writers wait for each other, never in a circle.
    INSERT INTO internal.metadata (first_seen, tenant_id, name, type, unit, help, digest)
    SELECT first_seen, tenant_id, name, type, unit, help,
        sha256(convert_to(jsonb_build_array(name, type, unit, help)::text, 'UTF8')) AS digest
    FROM new_rows
    ORDER BY tenant_id, digest, first_seen
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_new = ROW_COUNT;
    PERFORM set_config('promgres.new_rows', v_new::text, true);
    RETURN NULL;
END
$function$;

COMMENT ON FUNCTION staging_internal.move_metadata IS
    'Moves the rows of one COPY or INSERT; the setting promgres.new_rows says how many were new';

CREATE OR REPLACE TRIGGER move_metadata
    AFTER INSERT ON staging_internal.metadata
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION staging_internal.move_metadata();
