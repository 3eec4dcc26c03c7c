-- One job refreshes everything, in order: three policies of their own would add up their delays.

CREATE OR REPLACE FUNCTION internal.refresh_start(p_target text)
RETURNS timestamptz
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $function$
    -- A day's chunk less than retention reaches: a refresh never sees the gap of a dropped chunk,
    -- which it would take for a deletion.
    SELECT greatest(
        dropped_before,
        date_trunc('day', now()) - make_interval(days => internal.retention_days(p_target) - 1)
    )
    FROM internal.target WHERE target = p_target
$function$;
COMMENT ON FUNCTION internal.refresh_start IS
    'Samples and rollups of a target before this are never refreshed; -infinity where all is kept';

CREATE OR REPLACE PROCEDURE internal.refresh_rollups(job_id int, config jsonb)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_target text;
    v_width  text;
    v_start  timestamptz;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        v_start := nullif(internal.refresh_start(v_target), '-infinity');
        FOREACH v_width IN ARRAY ARRAY['1m', '1h', '1d'] LOOP
            -- Up to now: the bucket that is not over stays computed from what it consists of.
            CALL public.refresh_continuous_aggregate(
                format('%I.parts_%s', v_target, v_width)::regclass, v_start, now());
            COMMIT;
        END LOOP;
    END LOOP;
END
$procedure$;
COMMENT ON PROCEDURE internal.refresh_rollups IS
    'The job that brings minutes, then hours, then days up to date with new and late samples';

CREATE OR REPLACE PROCEDURE internal.refresh_period(
    p_target text, p_from timestamptz, p_to timestamptz
)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_from  timestamptz := greatest(p_from, internal.refresh_start(p_target));
    v_to    timestamptz;
    v_parts record;
BEGIN
    FOR v_parts IN
        SELECT * FROM (VALUES ('parts_1m', '1 minute'), ('parts_1h', '1 hour'), ('parts_1d', '1 day'))
            AS parts (name, width)
    LOOP
        -- Buckets that are not over stay with the job: stored ones would hide newer samples.
        v_to := least(p_to, date_bin(v_parts.width::interval, now(), '2000-01-03 00:00+00'));
        CONTINUE WHEN v_to < v_from + v_parts.width::interval;
        CALL public.refresh_continuous_aggregate(
            format('%I.%I', p_target, v_parts.name)::regclass, v_from, v_to, force => true);
        COMMIT;
    END LOOP;
END
$procedure$;
COMMENT ON PROCEDURE internal.refresh_period IS
    'Recomputes the rollups of a period of whole days from raw samples, changed or not';

CREATE OR REPLACE FUNCTION internal.raw_start(p_target text)
RETURNS timestamptz
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT min(range_start) FROM timescaledb_information.chunks
    WHERE hypertable_schema = p_target AND hypertable_name = 'sample'
$function$;
COMMENT ON FUNCTION internal.raw_start IS 'No raw sample of the target is older; null if it has none';

DO $schedule$
BEGIN
    IF NOT EXISTS (
        SELECT FROM timescaledb_information.jobs
        WHERE proc_schema = 'internal' AND proc_name = 'refresh_rollups'
    ) THEN
        PERFORM public.add_job('internal.refresh_rollups', INTERVAL '20 seconds');
    END IF;
END
$schedule$;
