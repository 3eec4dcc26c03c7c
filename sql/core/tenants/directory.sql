-- Tenants, and what the daemons know of tenants and keys by heart.

-- Neither control characters nor what moves or hides its neighbours: names stand in logs, metrics and
-- tables. (Ranges instead of classes: what a class holds depends on the locale.)
CREATE OR REPLACE FUNCTION internal.is_printable(p_text text) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT p_text !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]'
$function$;
COMMENT ON FUNCTION internal.is_printable IS 'Whether a text can stand in one line and be seen';

-- Somebody pastes a key where something else was asked for, sooner or later.
CREATE OR REPLACE FUNCTION internal.quoted(p_text text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(
        to_json(left(regexp_replace(p_text, '(pmk_[a-z0-9]{12})_.*', '\1_…'), 100))::text, 'null'
    )
$function$;
COMMENT ON FUNCTION internal.quoted IS 'What somebody gave, for an error: in one line, cut, and without the secret of a key';

CREATE OR REPLACE FUNCTION internal.tenant_named(p_name text) RETURNS app.tenant
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant app.tenant;
BEGIN
    SELECT * INTO v_tenant FROM app.tenant WHERE name = p_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no tenant %', internal.quoted(p_name)
            USING ERRCODE = 'no_data_found';
    END IF;
    RETURN v_tenant;
END
$function$;
COMMENT ON FUNCTION internal.tenant_named IS 'A tenant by its name; an error if there is none';

CREATE OR REPLACE FUNCTION app.create_tenant(name text) RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    v_tenant_id int;
BEGIN
    IF create_tenant.name IS NULL OR length(create_tenant.name) NOT BETWEEN 1 AND 100
        OR NOT internal.is_printable(create_tenant.name)
        OR create_tenant.name <> btrim(create_tenant.name)
        OR create_tenant.name ~ 'pmk_[a-z0-9]{12}_'
    THEN
        RAISE EXCEPTION 'the name of a tenant is 1 to 100 printable characters, no space at its ends and no key'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO app.tenant (name) VALUES (create_tenant.name)
    ON CONFLICT (name) DO NOTHING RETURNING tenant_id INTO v_tenant_id;
    IF v_tenant_id IS NULL THEN
        RAISE EXCEPTION 'tenant % is there already', internal.quoted(create_tenant.name)
            USING ERRCODE = 'unique_violation';
    END IF;
    PERFORM internal.audit_change('create_tenant', v_tenant_id, NULL,
        jsonb_build_object('name', create_tenant.name));
    RETURN v_tenant_id;
END
$function$;
COMMENT ON FUNCTION app.create_tenant IS 'A new tenant, without keys and with the settings'' limits; its id';

-- A limit of 0 is no limit, as in the settings; only of the spool 0 is no share at all.
CREATE OR REPLACE FUNCTION internal.check_limit(p_limit text, p_value jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_must_be text := CASE
        WHEN p_limit = 'items_per_second' THEN 'a number from 0 to 1e12'
        WHEN p_limit IN ('series', 'new_series_per_hour') THEN 'a whole number from 0 to 2147483647'
        WHEN p_limit = 'spool_share' THEN 'a number from 0 to 1'
    END;
    v_most numeric := CASE p_limit
        WHEN 'items_per_second' THEN 1e12 WHEN 'spool_share' THEN 1 ELSE 2147483647
    END;
    v_number numeric := CASE WHEN jsonb_typeof(p_value) = 'number' THEN p_value::numeric END;
BEGIN
    IF v_must_be IS NULL THEN
        RAISE EXCEPTION 'unknown limit %: a limit is items_per_second, series, spool_share or new_series_per_hour',
            internal.quoted(p_limit) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v_number IS NULL OR v_number NOT BETWEEN 0 AND v_most
        OR (p_limit IN ('series', 'new_series_per_hour') AND v_number <> trunc(v_number))
    THEN
        RAISE EXCEPTION 'limit % is %, not %', p_limit, v_must_be, left(p_value::text, 40)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$function$;
COMMENT ON FUNCTION internal.check_limit IS 'An error unless a limit may have this value';

-- What is null in the limits is left to the settings, like what is missing. Whole numbers lose the
-- decimal places that somebody wrote: 5.0 is 5.
CREATE OR REPLACE FUNCTION internal.checked_limits(p_limits jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF jsonb_typeof(p_limits) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'limits are a JSON object, such as {"series": 100000}'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM internal.check_limit(key, CASE value WHEN 'null' THEN '0' ELSE value END)
    FROM jsonb_each(p_limits);
    RETURN coalesce(
        (
            SELECT jsonb_object_agg(key, trim_scale(value::numeric)) FROM jsonb_each(p_limits)
            WHERE value <> 'null'
        ),
        '{}'
    );
END
$function$;
COMMENT ON FUNCTION internal.checked_limits IS 'Limits as they are kept; an error for what is none';

CREATE OR REPLACE FUNCTION app.set_tenant_limits(name text, limits jsonb) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant app.tenant := internal.tenant_named(name);
    v_limits jsonb := internal.checked_limits(limits);
BEGIN
    UPDATE app.tenant t SET limits = v_limits WHERE t.tenant_id = v_tenant.tenant_id;
    PERFORM internal.audit_change('set_tenant_limits', v_tenant.tenant_id, NULL,
        jsonb_build_object('limits', v_limits));
END
$function$;
COMMENT ON FUNCTION app.set_tenant_limits IS
    'All limits of a tenant: one that is missing, or null, is what the settings say';

CREATE OR REPLACE FUNCTION app.change_tenant_limits(name text, changes jsonb) RETURNS jsonb
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant app.tenant := internal.tenant_named(name);
    v_limits jsonb;
BEGIN
    PERFORM internal.checked_limits(changes);
    SELECT t.limits INTO v_limits FROM app.tenant t
    WHERE t.tenant_id = v_tenant.tenant_id FOR NO KEY UPDATE;
    PERFORM app.set_tenant_limits(name, v_limits || changes);
    RETURN jsonb_strip_nulls(v_limits || changes);
END
$function$;
COMMENT ON FUNCTION app.change_tenant_limits IS
    'Some limits of a tenant, the others stay; null leaves one to the settings. All of them as they are now';

CREATE OR REPLACE FUNCTION app.list_tenants()
RETURNS TABLE (
    tenant_id int, name text, created_at timestamptz, limits jsonb, keys bigint,
    last_used_at timestamptz
)
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT t.tenant_id, t.name, t.created_at, t.limits,
        count(k.key_id) FILTER (
            WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
        ),
        max(k.last_used_at)
    FROM app.tenant t
    LEFT JOIN app.api_key k USING (tenant_id)
    GROUP BY t.tenant_id
    ORDER BY t.tenant_id
$function$;
COMMENT ON FUNCTION app.list_tenants IS
    'All tenants, how many good keys each has, and when one of its keys was used last';

-- One json, so that a later version can tell more without a new signature; one statement, so that
-- its parts belong together.
CREATE OR REPLACE FUNCTION internal.key_directory() RETURNS json
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
AS $function$
    SELECT json_build_object(
        'version', (SELECT version FROM internal.directory_state),
        'tenants', coalesce(
            (
                SELECT json_agg(json_build_object(
                    'tenant_id', tenant_id, 'name', name, 'limits', limits
                ) ORDER BY tenant_id)
                FROM app.tenant
            ),
            '[]'
        ),
        'keys', coalesce(
            (
                SELECT json_agg(json_build_object(
                    'key_id', key_id, 'tenant_id', tenant_id, 'scopes', scopes,
                    'salt', encode(salt, 'hex'), 'hash', encode(hash, 'hex'),
                    'expires_at', extract(epoch FROM expires_at)::float8,
                    'revoked', revoked_at IS NOT NULL
                ) ORDER BY key_id)
                FROM app.api_key
            ),
            '[]'
        )
    )
$function$;
COMMENT ON FUNCTION internal.key_directory IS
    'All tenants and keys, for daemons: version, tenants, keys; salt and hash in hexadecimal, expires_at in seconds since 1970';

CREATE OR REPLACE FUNCTION internal.directory_version() RETURNS bigint
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$ SELECT version FROM internal.directory_state $function$;
COMMENT ON FUNCTION internal.directory_version IS
    'Another number after every change of tenants or keys: cheap to ask for every second';

-- Whoever changes a table by hand changes the version, too. Transactions wait for each other here;
-- there are few, and none is on the way of samples.
CREATE OR REPLACE FUNCTION internal.change_directory_version() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    UPDATE internal.directory_state SET version = version + 1;
    RETURN NULL;
END
$function$;
COMMENT ON FUNCTION internal.change_directory_version IS 'Tells daemons that tenants or keys changed';

CREATE OR REPLACE TRIGGER change_directory_version
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON app.tenant
    FOR EACH STATEMENT EXECUTE FUNCTION internal.change_directory_version();

-- All columns but last_used_at, which changes all the time.
CREATE OR REPLACE TRIGGER change_directory_version
    AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF
        key_id, tenant_id, name, scopes, salt, hash, created_at, expires_at, revoked_at, replaced_by
    ON app.api_key
    FOR EACH STATEMENT EXECUTE FUNCTION internal.change_directory_version();

-- A key that another session holds is being used or changed there: its time can wait for the next
-- call, and nobody waits in a circle.
CREATE OR REPLACE FUNCTION internal.note_key_use(p_key_ids text[]) RETURNS void
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    UPDATE app.api_key SET last_used_at = now()
    WHERE key_id IN (
        SELECT key_id FROM app.api_key
        WHERE key_id = ANY (p_key_ids)
            AND (last_used_at IS NULL OR last_used_at < now() - interval '30 seconds')
        FOR NO KEY UPDATE SKIP LOCKED
    )
$function$;
COMMENT ON FUNCTION internal.note_key_use IS
    'Keys that were used just now; within 30 seconds of the last time nothing is written';

REVOKE ALL ON FUNCTION
    internal.key_directory(), internal.directory_version(), internal.note_key_use(text[])
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    internal.key_directory(), internal.directory_version(), internal.note_key_use(text[])
TO authenticator, promgres_api;
