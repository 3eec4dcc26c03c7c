-- Whose data a login with SQL sees. It stands in a table, by the login that the session came with:
-- no SET, no SET ROLE and no function changes that, as they may change every setting.

CREATE OR REPLACE FUNCTION internal.reader_tenant_id()
RETURNS int
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant_id int;
BEGIN
    SELECT tenant_id INTO v_tenant_id FROM app.reader WHERE login = session_user::text;
    IF FOUND THEN
        RETURN v_tenant_id;
    END IF;
    -- Whoever has the rights of a reader and is none, or no longer, sees nothing: no tenant has the
    -- id 0. (The owner sees everything, whatever else it may have; a superuser has all rights.)
    IF pg_has_role(session_user, to_regrole('sql_reader'), 'USAGE')
        AND NOT pg_has_role(session_user, to_regrole('promgres_owner'), 'MEMBER')
    THEN
        RETURN 0;
    END IF;
    RETURN NULL;
END
$function$;
COMMENT ON FUNCTION internal.reader_tenant_id IS
    'The one tenant that the session''s login may see, if it is a reader''s; null for all others';

CREATE OR REPLACE FUNCTION internal.may_see(p_metrics int[])
RETURNS boolean
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant_id int := internal.reader_tenant_id();
BEGIN
    RETURN v_tenant_id IS NULL OR NOT EXISTS (
        SELECT FROM internal.metric
        WHERE metric_id = ANY (p_metrics) AND tenant_id <> v_tenant_id
    );
END
$function$;
COMMENT ON FUNCTION internal.may_see IS
    'Whether the session may see all of these metrics: asked by functions that views of readers call, and that a reader may so call as well';

CREATE OR REPLACE FUNCTION internal.current_tenant_id()
RETURNS int
LANGUAGE sql
STABLE
AS $function$
    SELECT coalesce(
        internal.reader_tenant_id(),
        nullif(current_setting('promgres.tenant_id', true), '')::int,
        1
    )
$function$;
COMMENT ON FUNCTION internal.current_tenant_id IS
    'Whose data is read: what app.reader says of the login, else the setting promgres.tenant_id, else the tenant "default"';
