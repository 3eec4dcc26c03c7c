-- Policies of engine postgres: what drops partitions reads the retention from internal.setting.

CREATE OR REPLACE FUNCTION internal.apply_policies(p_keys text[], p_values text[])
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $function$
    INSERT INTO internal.setting (key, value)
    SELECT * FROM unnest(p_keys, p_values)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
    WHERE setting.value <> excluded.value
$function$;
COMMENT ON FUNCTION internal.apply_policies IS
    'Records the policies of the settings (empty is "never") and puts them in force';
