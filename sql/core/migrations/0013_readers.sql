-- Logins for people with SQL, and whose data each of them sees.

CREATE TABLE app.reader (
    login      text COLLATE "C" PRIMARY KEY,
    tenant_id  int NOT NULL REFERENCES app.tenant,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE app.reader IS
    'Logins that read with SQL, and the one tenant that each of them sees, by session_user';
COMMENT ON COLUMN app.reader.login IS 'A role of the whole server, a member of sql_reader';

INSERT INTO app.reader (login, tenant_id)
SELECT 'promgres_reader', tenant_id FROM app.tenant WHERE name = 'default';
