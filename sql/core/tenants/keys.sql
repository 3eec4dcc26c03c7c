-- API keys: made, rotated, revoked, expired.
--
-- They run with the owner's rights and a path of their own, so that an operator's role can be handed
-- EXECUTE on one of them without seeing a table. A key is shown once, when it is made.

-- Whoever has only the leaked key at hand may give all of it; no message ever repeats it.
CREATE OR REPLACE FUNCTION internal.key_id_of(p_text text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_key_id text := substring(p_text FROM '^\s*(?:pmk_)?([a-z0-9]{12})(?:_[A-Za-z0-9_-]*)?\s*$');
BEGIN
    IF v_key_id IS NULL THEN
        RAISE EXCEPTION 'not the id of a key: an id is 12 lower-case letters and digits'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN v_key_id;
END
$function$;
COMMENT ON FUNCTION internal.key_id_of IS 'The id in what a person gave for one: an id, or a whole key';

-- In the order write, read, admin, each once.
CREATE OR REPLACE FUNCTION internal.checked_scopes(p_scopes text[]) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_known text[] := ARRAY['write', 'read', 'admin'];
    v_strange text;
BEGIN
    SELECT given INTO v_strange FROM unnest(p_scopes) AS given
    WHERE given IS NULL OR given <> ALL (v_known) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'unknown scope %: a scope is write, read or admin',
            internal.quoted(v_strange)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(cardinality(p_scopes), 0) = 0 THEN
        RAISE EXCEPTION 'a key needs a scope: write, read or admin'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN ARRAY(SELECT known FROM unnest(v_known) AS known WHERE known = ANY (p_scopes));
END
$function$;
COMMENT ON FUNCTION internal.checked_scopes IS 'Scopes without duplicates; an error for unknown ones';

CREATE OR REPLACE FUNCTION internal.check_key_name(p_name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF p_name IS NULL OR length(p_name) > 100 OR NOT internal.is_printable(p_name) THEN
        RAISE EXCEPTION 'the name of a key is at most 100 printable characters'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_name ~ 'pmk_[a-z0-9]{12}_' THEN
        RAISE EXCEPTION 'the name of a key is no key: names are shown to everybody'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$function$;
COMMENT ON FUNCTION internal.check_key_name IS 'An error unless a key may be called so';

CREATE OR REPLACE FUNCTION internal.check_expiry(p_expires_at timestamptz) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF p_expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'a key cannot expire in the past (%)', p_expires_at
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_expires_at >= '10000-01-01T00:00Z' THEN
        RAISE EXCEPTION 'a key expires before the year 10000, or never: null'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$function$;
COMMENT ON FUNCTION internal.check_expiry IS 'An error unless a key may expire then; null is never';

-- Locked until the end of the transaction: two rotations of one key cannot both succeed.
CREATE OR REPLACE FUNCTION internal.locked_key(p_key_id text) RETURNS app.api_key
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_key_id text := internal.key_id_of(p_key_id);
    v_key app.api_key;
BEGIN
    SELECT * INTO v_key FROM app.api_key WHERE key_id = v_key_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no key %', v_key_id USING ERRCODE = 'no_data_found';
    END IF;
    RETURN v_key;
END
$function$;
COMMENT ON FUNCTION internal.locked_key IS 'A key by its id; an error if there is none';

-- 32 random bytes of the server's strong generator, as 43 characters that need no quoting anywhere.
-- (Two UUIDs: twelve of the 256 bits are always the same.)
CREATE OR REPLACE FUNCTION internal.mint_key(
    p_tenant_id int, p_scopes text[], p_name text, p_expires_at timestamptz,
    OUT key_id text, OUT key text
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_salt bytea := uuid_send(gen_random_uuid());
    v_secret text := rtrim(translate(encode(
        uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'base64'), '+/', '-_'), '=');
BEGIN
    key_id := left(encode(uuid_send(gen_random_uuid()), 'hex'), 12);
    key := format('pmk_%s_%s', key_id, v_secret);
    INSERT INTO app.api_key (key_id, tenant_id, name, scopes, salt, hash, expires_at)
    VALUES (
        key_id, p_tenant_id, p_name, p_scopes, v_salt,
        sha256(v_salt || convert_to(v_secret, 'UTF8')), p_expires_at
    );
END
$function$;
COMMENT ON FUNCTION internal.mint_key IS 'A new key: its text exists in the answer and nowhere else';

CREATE OR REPLACE FUNCTION app.create_key(
    tenant text,
    scopes text[] DEFAULT '{read,write}',
    name text DEFAULT '',
    expires_at timestamptz DEFAULT NULL,
    OUT key_id text,
    OUT key text
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant app.tenant := internal.tenant_named(tenant);
    v_scopes text[] := internal.checked_scopes(scopes);
BEGIN
    PERFORM internal.check_key_name(name);
    PERFORM internal.check_expiry(expires_at);
    SELECT minted.key_id, minted.key INTO create_key.key_id, create_key.key
    FROM internal.mint_key(v_tenant.tenant_id, v_scopes, name, expires_at) AS minted;
    PERFORM internal.audit_change('create_key', v_tenant.tenant_id, key_id,
        jsonb_build_object('name', name, 'scopes', v_scopes, 'expires_at', expires_at));
END
$function$;
COMMENT ON FUNCTION app.create_key IS
    'A new API key of a tenant: its id, and the key itself, which is shown this once';

CREATE OR REPLACE FUNCTION app.rotate_key(
    INOUT key_id text,
    overlap interval DEFAULT '1 day',
    OUT key text
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'  -- where a day of the overlap is 24 hours
AS $function$
DECLARE
    v_old app.api_key := internal.locked_key(key_id);
    v_ends_at timestamptz;
BEGIN
    PERFORM internal.check_rotation(v_old, overlap);
    v_ends_at := least(v_old.expires_at, clock_timestamp() + overlap);
    SELECT minted.key_id, minted.key INTO rotate_key.key_id, rotate_key.key
    FROM internal.mint_key(v_old.tenant_id, v_old.scopes, v_old.name, v_old.expires_at) AS minted;
    UPDATE app.api_key k SET replaced_by = rotate_key.key_id, expires_at = v_ends_at
    WHERE k.key_id = v_old.key_id;
    PERFORM internal.audit_change('rotate_key', v_old.tenant_id, v_old.key_id,
        jsonb_build_object('replaced_by', key_id, 'expires_at', v_ends_at));
END
$function$;
COMMENT ON FUNCTION app.rotate_key IS
    'A new key for the same tenant, scopes, name and expiry; the old one is good for the overlap, and no longer';

CREATE OR REPLACE FUNCTION internal.check_rotation(p_key app.api_key, p_overlap interval)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_why text := CASE
        WHEN p_key.revoked_at IS NOT NULL THEN format('was revoked at %s', p_key.revoked_at)
        WHEN p_key.replaced_by IS NOT NULL THEN format('was rotated already: %s took its place', p_key.replaced_by)
        WHEN p_key.expires_at <= clock_timestamp() THEN format('expired at %s', p_key.expires_at)
    END;
BEGIN
    IF v_why IS NOT NULL THEN
        RAISE EXCEPTION 'key % cannot be rotated: it %', p_key.key_id, v_why
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF p_overlap IS NULL OR p_overlap < '0' OR p_overlap > '1 year' THEN
        RAISE EXCEPTION 'the overlap is between 0 and 1 year, not %', coalesce(p_overlap::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$function$;
COMMENT ON FUNCTION internal.check_rotation IS 'An error unless the key may be rotated so';

CREATE OR REPLACE FUNCTION app.revoke_key(key_id text) RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_key app.api_key := internal.locked_key(key_id);
BEGIN
    IF v_key.revoked_at IS NOT NULL THEN
        RETURN false;
    END IF;
    UPDATE app.api_key k SET revoked_at = clock_timestamp() WHERE k.key_id = v_key.key_id;
    PERFORM internal.audit_change('revoke_key', v_key.tenant_id, v_key.key_id, '{}');
    RETURN true;
END
$function$;
COMMENT ON FUNCTION app.revoke_key IS
    'Ends a key for ever, within seconds; false if it was revoked before. A whole key may be given, too';

CREATE OR REPLACE FUNCTION app.expire_key(key_id text, at timestamptz) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_key app.api_key := internal.locked_key(key_id);
BEGIN
    PERFORM internal.check_expiry(at);
    IF v_key.revoked_at IS NOT NULL THEN
        RAISE EXCEPTION 'key % was revoked at %: nothing brings it back', v_key.key_id, v_key.revoked_at
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    UPDATE app.api_key k SET expires_at = at WHERE k.key_id = v_key.key_id;
    PERFORM internal.audit_change('expire_key', v_key.tenant_id, v_key.key_id,
        jsonb_build_object('expires_at', at, 'expired_before', v_key.expires_at));
END
$function$;
COMMENT ON FUNCTION app.expire_key IS
    'When a key ends, sooner or later than it did; null is never. An expired key comes back by it, a revoked one does not';

CREATE OR REPLACE FUNCTION app.list_keys(p_tenant text DEFAULT NULL)
RETURNS TABLE (
    key_id text, tenant text, name text, scopes text[], state text, created_at timestamptz,
    expires_at timestamptz, revoked_at timestamptz, replaced_by text, last_used_at timestamptz
)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF p_tenant IS NOT NULL THEN
        PERFORM internal.tenant_named(p_tenant);
    END IF;
    RETURN QUERY
    SELECT k.key_id, t.name, k.name, k.scopes,
        CASE
            WHEN k.revoked_at IS NOT NULL THEN 'revoked'
            WHEN k.expires_at <= now() THEN 'expired'
            WHEN k.replaced_by IS NOT NULL THEN 'rotated'
            ELSE 'active'
        END,
        k.created_at, k.expires_at, k.revoked_at, k.replaced_by, k.last_used_at
    FROM app.api_key k
    JOIN app.tenant t USING (tenant_id)
    WHERE p_tenant IS NULL OR t.name = p_tenant
    ORDER BY t.name COLLATE "C", k.created_at, k.key_id;
END
$function$;
COMMENT ON FUNCTION app.list_keys IS
    'All keys, or one tenant''s: active and rotated ones are good, revoked and expired ones are refused';
