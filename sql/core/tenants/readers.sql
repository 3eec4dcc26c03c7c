-- Readers: logins for people with SQL, made, listed and dropped here. What they may read is granted
-- to sql_reader, of which each is a member.
--
-- Roles are made with the rights of whoever asks, who needs CREATEROLE: the owner has none.

CREATE OR REPLACE FUNCTION app.create_reader(p_tenant text, p_login text, p_verifier text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant app.tenant := internal.tenant_named(p_tenant);
    v_role   pg_roles;
BEGIN
    IF p_login IS NULL OR p_login !~ '^[a-z_][a-z0-9_]{0,62}$' OR p_login ~ '^pg_' THEN
        RAISE EXCEPTION 'a login is 1 to 63 lower-case letters, digits and _, and begins with no digit'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM app.reader WHERE login = p_login) THEN
        RAISE EXCEPTION 'reader % is there already: drop it first', p_login
            USING ERRCODE = 'unique_violation';
    END IF;
    SELECT * INTO v_role FROM pg_roles WHERE rolname = p_login;
    IF NOT FOUND THEN
        PERFORM internal.make_reader_role(p_login);
    ELSIF NOT internal.is_bare_reader(p_login) THEN
        RAISE EXCEPTION 'there is a role % already, and it is no reader: choose another login', p_login
            USING ERRCODE = 'duplicate_object';
    END IF;
    EXECUTE format('ALTER ROLE %I PASSWORD %L', p_login, p_verifier);
    INSERT INTO app.reader (login, tenant_id) VALUES (p_login, v_tenant.tenant_id);
    PERFORM internal.audit_change('create_reader', v_tenant.tenant_id, NULL,
        jsonb_build_object('login', p_login));
END
$function$;
COMMENT ON FUNCTION app.create_reader IS
    'A login that reads one tenant''s data with SQL; p_verifier is its password, or better a SCRAM verifier of it';

-- The connections of one reader leave enough of them to all others.
CREATE OR REPLACE FUNCTION internal.make_reader_role(p_login text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE format('CREATE ROLE %I LOGIN CONNECTION LIMIT 10', p_login);
    EXECUTE format('GRANT sql_reader TO %I', p_login);
    EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', p_login);
    EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', p_login, '30s');
    EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', p_login, '60s');
    -- Plans are over many partitions, of which few are read: JIT compiles all, for seconds.
    EXECUTE format('ALTER ROLE %I SET jit = off', p_login);
END
$function$;
COMMENT ON FUNCTION internal.make_reader_role IS 'The role of a reader, as bootstrap.sql makes promgres_reader';

CREATE OR REPLACE FUNCTION internal.is_bare_reader(p_login text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT EXISTS (
        SELECT FROM pg_roles r
        WHERE r.rolname = p_login AND r.rolcanlogin
            AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolbypassrls
                OR r.rolreplication)
            AND ARRAY(SELECT m.roleid FROM pg_auth_members m WHERE m.member = r.oid)
                = ARRAY[to_regrole('sql_reader')::oid]
    )
$function$;
COMMENT ON FUNCTION internal.is_bare_reader IS
    'Whether a role is a login that may do what readers may, and nothing else';

CREATE OR REPLACE FUNCTION app.drop_reader(p_login text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant_id int;
BEGIN
    DELETE FROM app.reader WHERE login = p_login RETURNING tenant_id INTO v_tenant_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no reader %', internal.quoted(p_login)
            USING ERRCODE = 'no_data_found';
    END IF;
    -- The one that every migrate makes if it is missing stays, and sees nothing.
    IF p_login <> 'promgres_reader' AND internal.is_bare_reader(p_login) THEN
        EXECUTE format('DROP ROLE %I', p_login);
    END IF;
    PERFORM internal.audit_change('drop_reader', v_tenant_id, NULL,
        jsonb_build_object('login', p_login));
END
$function$;
COMMENT ON FUNCTION app.drop_reader IS
    'Ends a reader: its sessions see nothing from now on, and its role is dropped';

CREATE OR REPLACE FUNCTION app.list_readers()
RETURNS TABLE (login text, tenant text, created_at timestamptz, can_login boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT r.login, t.name, r.created_at, coalesce(o.rolcanlogin, false)
    FROM app.reader r
    JOIN app.tenant t USING (tenant_id)
    LEFT JOIN pg_roles o ON o.rolname = r.login
    ORDER BY r.login
$function$;
COMMENT ON FUNCTION app.list_readers IS 'All readers, and the tenant that each of them sees';

-- Every view here filters by the reader's tenant itself, behind a security barrier: no condition of
-- the reader's, and so no error message, meets a row of another tenant. What a view calls is called
-- with the reader's rights, so these functions are safe to call by themselves.
GRANT USAGE ON SCHEMA internal, cumsum, geo TO sql_reader;
GRANT EXECUTE ON FUNCTION internal.current_tenant_id(), internal.reader_tenant_id() TO sql_reader;
GRANT SELECT ON
    internal.rollup_1m, internal.rollup_1h, internal.rollup_1d,
    cumsum.rollup_1m, cumsum.rollup_1h, cumsum.rollup_1d
TO sql_reader;
