-- How long raw samples stay, as the settings of the last `promgres migrate` say.

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

CREATE OR REPLACE FUNCTION internal.horizon(
    p_target text, OUT retention_days int, OUT dropped_before timestamptz
)
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT internal.retention_days(p_target), nullif(dropped_before, '-infinity')
    FROM internal.target WHERE target = p_target
$function$;
COMMENT ON FUNCTION internal.horizon IS
    'How far back raw samples of a target reach: days that are kept, and what is gone whatever they are';
