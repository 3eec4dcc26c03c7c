-- For each row of internal.rolled_up: what old_stack_views.sql shows, of a period. There a condition on
-- time alone takes all blocks apart (engine postgres); these know their period.

CREATE OR REPLACE VIEW @target@.prometheus_remote_write_last_day WITH (security_barrier) AS
SELECT time, series_id AS tag_id, name, schema, coalesce(exact, value::text::numeric) AS value
FROM @target@.series_sample_last_day
WHERE value <> 'NaN' AND tenant_id = (SELECT internal.current_tenant_id());
COMMENT ON VIEW @target@.prometheus_remote_write_last_day IS
    'What @target@.prometheus_remote_write has of the last 24 hours';

CREATE OR REPLACE FUNCTION @target@.prometheus_remote_write_between(
    p_from timestamptz, p_to timestamptz, p_name text DEFAULT NULL
)
RETURNS SETOF @target@.prometheus_remote_write
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET extra_float_digits = 1
AS $function$
DECLARE
    v_tenant_id int := internal.current_tenant_id();
BEGIN
    RETURN QUERY
    SELECT x.time, x.series_id, x.name, x.schema, coalesce(x.exact, x.value::text::numeric)
    FROM @target@.series_samples_between(p_from, p_to) AS x
    WHERE x.value <> 'NaN' AND x.tenant_id = v_tenant_id
        AND (p_name IS NULL OR x.name = lower(p_name COLLATE "C"));
END
$function$;
COMMENT ON FUNCTION @target@.prometheus_remote_write_between IS
    'What @target@.prometheus_remote_write has with p_from <= time < p_to, of one metric or of all';

GRANT EXECUTE ON FUNCTION @target@.prometheus_remote_write_between(timestamptz, timestamptz, text)
TO sql_reader;
GRANT SELECT ON @target@.prometheus_remote_write_last_day TO sql_reader;
