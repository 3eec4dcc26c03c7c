-- What a tenant may use, the API keys that speak for it, and a record of who changed or was refused
-- what.

ALTER TABLE app.tenant
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN limits     jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits) = 'object');
COMMENT ON COLUMN app.tenant.created_at IS
    'When app.create_tenant made it; for older ones, when this column came';
COMMENT ON COLUMN app.tenant.limits IS
    'items_per_second, series, spool_share, new_series_per_hour; a missing one is what the settings say';

-- A secret is 32 random bytes: one round of SHA-256 keeps it as well as a slow hash would, and every
-- daemon can check a key from memory. The salt makes equal secrets, and tables made beforehand,
-- worth nothing.
CREATE TABLE app.api_key (
    key_id       text COLLATE "C" PRIMARY KEY CHECK (key_id ~ '^[a-z0-9]{12}$'),
    tenant_id    int NOT NULL REFERENCES app.tenant,
    name         text NOT NULL DEFAULT '',
    scopes       text[] NOT NULL
        CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['write', 'read', 'admin']),
    salt         bytea NOT NULL CHECK (octet_length(salt) = 16),
    hash         bytea NOT NULL CHECK (octet_length(hash) = 32),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    replaced_by  text COLLATE "C" REFERENCES app.api_key,
    last_used_at timestamptz
);
CREATE INDEX api_key_tenant ON app.api_key (tenant_id);
COMMENT ON TABLE app.api_key IS
    'API keys, without what makes them usable: a key is pmk_<key_id>_<secret>, and only a hash of the secret is here';
COMMENT ON COLUMN app.api_key.scopes IS 'write, read, admin; admin includes the other two';
COMMENT ON COLUMN app.api_key.hash IS 'SHA-256 of the salt, then the secret as text';
COMMENT ON COLUMN app.api_key.expires_at IS 'From then on the key is refused; null is never';
COMMENT ON COLUMN app.api_key.replaced_by IS 'The key that app.rotate_key made in its place';
COMMENT ON COLUMN app.api_key.last_used_at IS 'To a minute or so; null is never';

-- No foreign keys: a row outlives whatever it tells of.
CREATE TABLE app.audit (
    audit_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    action    text NOT NULL,
    tenant_id int,
    key_id    text,
    address   text,
    actor     text,
    times     int NOT NULL DEFAULT 1 CHECK (times > 0),
    details   jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_at ON app.audit (at);
COMMENT ON TABLE app.audit IS
    'Changes of tenants and keys, and refused requests. Never a secret';
COMMENT ON COLUMN app.audit.action IS
    'For a change, the function of schema app that made it; for a refusal, what was refused';
COMMENT ON COLUMN app.audit.address IS 'Whose connection it was; null is a local socket';
COMMENT ON COLUMN app.audit.actor IS 'The login that made a change; null for a refused request';
COMMENT ON COLUMN app.audit.times IS 'How often it happened: equal refusals are one row';

CREATE TABLE internal.directory_state (
    version bigint NOT NULL,
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only)
);
INSERT INTO internal.directory_state (version) VALUES (1);
COMMENT ON TABLE internal.directory_state IS
    'One row. The version grows with every transaction that changes tenants or keys: daemons ask for it, and read the directory when it is another one';
