-- Which packs of functions and views are on.

CREATE OR REPLACE FUNCTION internal.recorded_packs()
RETURNS text[]
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT string_to_array(value, ' ') FROM internal.setting WHERE key = 'packs'
$function$;
COMMENT ON FUNCTION internal.recorded_packs IS
    'Packs that are on, in order of their names. Set by promgres migrate';

GRANT USAGE ON SCHEMA internal TO authenticator, promgres_api;
GRANT EXECUTE ON FUNCTION internal.recorded_packs() TO authenticator, promgres_api;
