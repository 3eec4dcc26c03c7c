-- The login of the write side on a database that `promgres up` runs: the owner's rights on tables,
-- and none of the superuser's, who can run programs as the server's user.

DO $create$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'promgres_ingest') THEN
        CREATE ROLE promgres_ingest LOGIN;
    END IF;
    IF NOT pg_has_role('promgres_ingest', 'promgres_owner', 'MEMBER') THEN
        GRANT promgres_owner TO promgres_ingest;
    END IF;
END
$create$;
