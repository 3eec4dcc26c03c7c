-- The record of changes and refusals: written here, read here, forgotten here.

CREATE OR REPLACE FUNCTION internal.audit_change(
    p_action text, p_tenant_id int, p_key_id text, p_details jsonb
)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $function$
    INSERT INTO app.audit (action, tenant_id, key_id, address, actor, details)
    VALUES (
        p_action, p_tenant_id, p_key_id, host(inet_client_addr()), session_user,
        jsonb_strip_nulls(p_details)
    )
$function$;
COMMENT ON FUNCTION internal.audit_change IS
    'A row for a change, in its transaction, under the name of whoever logged in';

-- Whoever calls it may be lied to by a client: texts are cut, and a time in the future is now.
CREATE OR REPLACE FUNCTION internal.record_refusals(p_refusals jsonb) RETURNS void
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    INSERT INTO app.audit (at, action, tenant_id, key_id, address, times, details)
    SELECT least(coalesce(to_timestamp(r.at), now()), now()),
        left(coalesce(r.action, 'refused'), 100), r.tenant_id, left(r.key_id, 12), left(r.address, 100),
        greatest(coalesce(r.times, 1), 1), coalesce(r.details, '{}')
    FROM jsonb_to_recordset(p_refusals) AS r (
        at float8, action text, tenant_id int, key_id text, address text, times int, details jsonb
    )
    ORDER BY r.at
$function$;
COMMENT ON FUNCTION internal.record_refusals IS
    'Rows for refused requests: an array of at (seconds since 1970), action, tenant_id, key_id, address, times, details';

CREATE OR REPLACE FUNCTION internal.drop_expired_audit(p_days int, p_limit int) RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_dropped int;
BEGIN
    DELETE FROM app.audit
    WHERE audit_id IN (
        SELECT audit_id FROM app.audit
        WHERE at < now() - make_interval(hours => 24 * p_days)
        ORDER BY at
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS v_dropped = ROW_COUNT;
    RETURN v_dropped;
END
$function$;
COMMENT ON FUNCTION internal.drop_expired_audit IS
    'Forgets rows that are older than so many days, the oldest first, at most p_limit of them; how many';

CREATE OR REPLACE FUNCTION app.list_audit(
    p_limit int DEFAULT 100, p_tenant text DEFAULT NULL, p_action text DEFAULT NULL
)
RETURNS TABLE (
    audit_id bigint, at timestamptz, action text, tenant text, key_id text, address text,
    actor text, times int, details jsonb
)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant_id int;
BEGIN
    IF p_tenant IS NOT NULL THEN
        v_tenant_id := (internal.tenant_named(p_tenant)).tenant_id;
    END IF;
    RETURN QUERY
    SELECT a.audit_id, a.at, a.action, coalesce(t.name, a.tenant_id::text), a.key_id, a.address,
        a.actor, a.times, a.details
    FROM app.audit a
    LEFT JOIN app.tenant t ON t.tenant_id = a.tenant_id
    WHERE (v_tenant_id IS NULL OR a.tenant_id = v_tenant_id)
        AND (p_action IS NULL OR a.action = p_action)
    ORDER BY a.at DESC, a.audit_id DESC
    LIMIT p_limit;
END
$function$;
COMMENT ON FUNCTION app.list_audit IS
    'The newest rows of app.audit, newest first: all, or of one tenant, or of one action';

REVOKE ALL ON FUNCTION
    internal.record_refusals(jsonb), internal.drop_expired_audit(int, int) FROM PUBLIC;
-- Whoever only reads cannot make the record forget: that is the write side's work.
REVOKE ALL ON FUNCTION internal.drop_expired_audit(int, int) FROM authenticator, promgres_api;
GRANT EXECUTE ON FUNCTION internal.record_refusals(jsonb) TO authenticator, promgres_api;
