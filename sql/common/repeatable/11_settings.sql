-- Policies that the settings of promgres ask for, kept where functions and jobs can read them.

CREATE OR REPLACE FUNCTION internal.retention_days(p_target text)
RETURNS int
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT nullif(value, '')::int FROM internal.setting
    WHERE key = 'retention.' || p_target || '_days'
$function$;
COMMENT ON FUNCTION internal.retention_days IS
    'Days that raw samples of a target stay; null is for ever. Set by promgres migrate';
