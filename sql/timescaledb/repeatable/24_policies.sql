-- Policies of engine timescaledb: retention and compression, as internal.setting says.

CREATE OR REPLACE FUNCTION internal.apply_retention(p_target text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $function$
DECLARE
    v_relation text;
    v_after    interval := make_interval(days => internal.retention_days(p_target));
BEGIN
    FOR v_relation IN
        SELECT format('%I.%I', target, name) FROM internal.store WHERE target = p_target
        UNION ALL
        SELECT format('%I.parts_1m', p_target) WHERE p_target IN ('internal', 'cumsum')
    LOOP
        PERFORM remove_retention_policy(v_relation, if_exists => true);
        IF v_after IS NOT NULL THEN
            PERFORM add_retention_policy(v_relation, v_after);
        END IF;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION internal.apply_retention IS
    'Gives raw data and minutes of a target the retention of the settings; hours and days stay';

CREATE OR REPLACE FUNCTION internal.apply_compression(p_target text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $function$
DECLARE
    v_relation text;
    v_after    interval := internal.compress_after();
BEGIN
    FOR v_relation IN
        SELECT format('%I.%I', target, name) FROM internal.store WHERE target = p_target
    LOOP
        PERFORM remove_compression_policy(v_relation, if_exists => true);
        IF v_after IS NOT NULL THEN
            PERFORM add_compression_policy(v_relation, v_after);
        END IF;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION internal.apply_compression IS
    'Compresses chunks of a target after the days of the settings';

CREATE OR REPLACE FUNCTION internal.compress_after()
RETURNS interval
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT make_interval(days => nullif(value, '')::int)
    FROM internal.setting WHERE key = 'compress_after_days'
$function$;
COMMENT ON FUNCTION internal.compress_after IS 'Age at which chunks are compressed; null is never';

CREATE OR REPLACE PROCEDURE internal.compress_rollups(job_id int, config jsonb)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_target text;
    v_chunk  regclass;
BEGIN
    -- A compression policy of a continuous aggregate wants a refresh policy of its own.
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        FOR v_chunk IN
            SELECT public.show_chunks(
                format('%I.parts_1m', v_target)::regclass, older_than => internal.compress_after())
            WHERE internal.compress_after() IS NOT NULL
        LOOP
            PERFORM public.compress_chunk(v_chunk, if_not_compressed => true);
            COMMIT;
        END LOOP;
    END LOOP;
END
$procedure$;
COMMENT ON PROCEDURE internal.compress_rollups IS
    'The job that compresses old minutes: seven times smaller. Late samples still reach them';

DO $schedule$
BEGIN
    IF NOT EXISTS (
        SELECT FROM timescaledb_information.jobs
        WHERE proc_schema = 'internal' AND proc_name = 'compress_rollups'
    ) THEN
        PERFORM public.add_job('internal.compress_rollups', INTERVAL '12 hours');
    END IF;
END
$schedule$;

CREATE OR REPLACE FUNCTION internal.apply_policies(p_keys text[], p_values text[])
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $function$
DECLARE
    v_target text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum', 'geo'] LOOP
        -- What was dropped under the old retention stays dropped under a longer one.
        UPDATE internal.target
        SET dropped_before = internal.refresh_start(v_target)
        WHERE target = v_target
            AND internal.retention_days(v_target) IS DISTINCT FROM (
                SELECT nullif(v, '')::int FROM unnest(p_keys, p_values) AS given (k, v)
                WHERE k = 'retention.' || v_target || '_days');
    END LOOP;

    INSERT INTO internal.setting (key, value)
    SELECT * FROM unnest(p_keys, p_values)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
    WHERE setting.value <> excluded.value;
    -- Policies in force stay untouched: replacing one ends the job that is running for it.
    IF NOT FOUND THEN
        RETURN;
    END IF;

    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum', 'geo', 'app'] LOOP
        PERFORM internal.apply_retention(v_target);
        PERFORM internal.apply_compression(v_target);
    END LOOP;
END
$function$;
COMMENT ON FUNCTION internal.apply_policies IS
    'Records the policies of the settings (empty is "never") and puts them in force';

-- Tables that are younger than the policies of the last migrate get theirs now.
DO $policies$
DECLARE
    v_young text;
BEGIN
    FOR v_young IN
        SELECT DISTINCT target FROM internal.store
        WHERE internal.retention_days(target) IS NOT NULL AND NOT EXISTS (
            SELECT FROM timescaledb_information.jobs
            WHERE proc_name = 'policy_retention'
                AND (hypertable_schema, hypertable_name) = (target, name))
    LOOP
        PERFORM internal.apply_retention(v_young);
    END LOOP;
    FOR v_young IN
        SELECT DISTINCT target FROM internal.store
        WHERE internal.compress_after() IS NOT NULL AND NOT EXISTS (
            SELECT FROM timescaledb_information.jobs
            WHERE proc_name = 'policy_compression'
                AND (hypertable_schema, hypertable_name) = (target, name))
    LOOP
        PERFORM internal.apply_compression(v_young);
    END LOOP;
END
$policies$;
