-- What measures and events need beside move.sql: which names there are, and which keys were taken.

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
