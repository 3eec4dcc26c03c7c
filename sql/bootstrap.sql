-- What every migration stands on: roles, schemas, and the record of what was applied.
--
-- Runs at the start of every `promgres migrate`, as the user of the URL, and changes nothing where
-- it ran before. The runner sets `promgres.engine` for it. Roles belong to the whole cluster:
-- another database may create them at the same moment, so the runner repeats this file when a
-- statement meets that race. Roles that exist are left as they are.

DO $bootstrap$
DECLARE
    -- On TimescaleDB jobs run as the owner of what they work on, who must be able to log in.
    owner_login text := CASE current_setting('promgres.engine')
        WHEN 'timescaledb' THEN 'LOGIN' ELSE 'NOLOGIN' END;
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('promgres_owner', owner_login),
            ('web_anon', 'NOLOGIN'),
            ('writer', 'NOLOGIN'),
            ('authenticator', 'NOLOGIN NOINHERIT'),
            ('promgres_api', 'LOGIN NOINHERIT'),
            ('sql_reader', 'NOLOGIN'),
            ('promgres_reader', 'LOGIN CONNECTION LIMIT 10')
        ) AS role (name, attributes)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) THEN
            EXECUTE format('CREATE ROLE %I %s', wanted.name, wanted.attributes);
            -- Like further readers, see internal.make_reader_role.
            IF wanted.name = 'promgres_reader' THEN
                ALTER ROLE promgres_reader SET default_transaction_read_only = on;
                ALTER ROLE promgres_reader SET statement_timeout = '30s';
                ALTER ROLE promgres_reader SET idle_in_transaction_session_timeout = '60s';
                ALTER ROLE promgres_reader SET jit = off;
            END IF;
        END IF;
    END LOOP;
END
$bootstrap$;

-- Memberships: web clients log in as promgres_api and become web_anon or writer through
-- authenticator; people with SQL log in as promgres_reader, who calls what web_anon may.
DO $bootstrap$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('web_anon', 'authenticator'),
            ('writer', 'authenticator'),
            ('authenticator', 'promgres_api'),
            ('web_anon', 'sql_reader'),
            ('sql_reader', 'promgres_reader')
        ) AS membership (role, member)
    LOOP
        IF NOT EXISTS (
            SELECT FROM pg_auth_members
            WHERE roleid = wanted.role::regrole AND member = wanted.member::regrole
        ) THEN
            EXECUTE format('GRANT %I TO %I', wanted.role, wanted.member);
        END IF;
    END LOOP;
END
$bootstrap$;

-- The user of the URL must be able to become the owner. Since PostgreSQL 16 the creator of a role
-- may grant it, but is not yet allowed to SET ROLE to it.
DO $bootstrap$
DECLARE
    can_become_owner text := CASE
        WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF NOT pg_has_role(current_user, 'promgres_owner', can_become_owner) THEN
        EXECUTE format('GRANT promgres_owner TO %I', current_user);
    END IF;
END
$bootstrap$;

DO $bootstrap$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[
        'internal', 'cumsum', 'geo', 'app', 'api', 'metric',
        'staging_internal', 'staging_cumsum', 'staging_geo', 'staging_app'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = wanted) THEN
            EXECUTE format('CREATE SCHEMA %I AUTHORIZATION promgres_owner', wanted);
        END IF;
    END LOOP;
END
$bootstrap$;

-- TimescaleDB logs each range that is refreshed, in four lines. Jobs may hush that where a superuser
-- lets them; nobody else can.
DO $bootstrap$
BEGIN
    IF current_setting('promgres.engine') = 'timescaledb'
        AND NOT has_parameter_privilege('promgres_owner', 'log_min_messages', 'SET')
        AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    THEN
        GRANT SET ON PARAMETER log_min_messages TO promgres_owner;
    END IF;
END
$bootstrap$;

SET LOCAL ROLE promgres_owner;

-- Functions are callable by their owner alone, unless a grant says otherwise.
ALTER DEFAULT PRIVILEGES FOR ROLE promgres_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

CREATE TABLE IF NOT EXISTS internal.migration (
    file       text PRIMARY KEY,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE internal.migration IS
    'Files of sql/ that were applied here, with the SHA-256 of what they held then';

CREATE TABLE IF NOT EXISTS internal.setting (
    key   text PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE internal.setting IS
    'What the database knows about itself: the engine, and the policies of the last migrate';

INSERT INTO internal.setting (key, value)
SELECT 'engine', current_setting('promgres.engine')
WHERE NOT EXISTS (SELECT FROM internal.setting WHERE key = 'engine');
