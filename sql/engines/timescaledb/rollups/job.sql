-- One job refreshes everything, in order: three policies of their own would add up their delays.

CREATE OR REPLACE FUNCTION internal.rollup_lock()
RETURNS bigint
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT hashtextextended('promgres: rollups', 0)
$function$;
COMMENT ON FUNCTION internal.rollup_lock IS
    'Advisory lock of the session that refreshes, compresses or drops rollups: one at a time, since the extension refuses overlapping refreshes and drops chunks under a running one';

CREATE OR REPLACE PROCEDURE internal.take_turn()
LANGUAGE plpgsql
AS $procedure$
BEGIN
    PERFORM pg_advisory_lock(internal.rollup_lock());
    -- What another turn has dropped or stored is seen, whatever the database's defaults are.
    PERFORM set_config('default_transaction_isolation', 'read committed', false);
    COMMIT;
END
$procedure$;
COMMENT ON PROCEDURE internal.take_turn IS
    'Waits until nobody else works on rollups, and begins a transaction that sees what they did';

CREATE OR REPLACE PROCEDURE internal.end_turn()
LANGUAGE plpgsql
AS $procedure$
BEGIN
    COMMIT;
    RESET default_transaction_isolation;
    PERFORM pg_advisory_unlock(internal.rollup_lock());
END
$procedure$;
COMMENT ON PROCEDURE internal.end_turn IS
    'Lets the next one work on rollups. After an error the end of the session does';

CREATE OR REPLACE PROCEDURE internal.refresh_parts(
    p_parts regclass, p_from timestamptz, p_to timestamptz, p_force boolean DEFAULT false
)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_log_level text := current_setting('log_min_messages');
BEGIN
    -- The extension logs four lines for each range, whoever refreshes. Errors are kept for jobs.
    IF has_parameter_privilege('log_min_messages', 'SET') THEN
        PERFORM set_config('log_min_messages', 'fatal', false);
    END IF;
    -- Since 2.28 a refresh is cut into transactions of ten buckets, newest first, unless it is told
    -- otherwise: slow, and readers would meet half of it. Before 2.21 it cannot be told, and is not
    -- cut. (The branch that is not taken is never looked up.)
    IF EXISTS (
        SELECT FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname = 'refresh_continuous_aggregate'
            AND 'options' = ANY (proargnames)
    ) THEN
        CALL public.refresh_continuous_aggregate(
            p_parts, p_from, p_to, p_force, options => '{"buckets_per_batch": 0}');
    ELSE
        CALL public.refresh_continuous_aggregate(p_parts, p_from, p_to, p_force);
    END IF;
    IF v_log_level <> current_setting('log_min_messages') THEN
        PERFORM set_config('log_min_messages', v_log_level, false);
    END IF;
    COMMIT;
END
$procedure$;
COMMENT ON PROCEDURE internal.refresh_parts IS
    'Stores all that changed in a period of one continuous aggregate, in one transaction';

CREATE OR REPLACE PROCEDURE internal.refresh_target(p_target text)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    -- A refresh must not see the gap of a dropped chunk, which it would take for a deletion.
    v_from  timestamptz := (
        SELECT nullif(dropped_before, '-infinity') FROM internal.target WHERE target = p_target);
    -- One end for all: no hour is stored whose last minute is not. The bucket that is not over
    -- stays computed from what it consists of.
    v_to    timestamptz := now();
    v_width text;
BEGIN
    FOR v_width IN
        SELECT width FROM internal.rollup_width WHERE target = p_target ORDER BY step::interval
    LOOP
        CALL internal.refresh_parts(format('%I.parts_%s', p_target, v_width)::regclass, v_from, v_to);
    END LOOP;
END
$procedure$;
COMMENT ON PROCEDURE internal.refresh_target IS
    'Brings minutes, then hours, then days of a target up to date with new and late samples';

CREATE OR REPLACE PROCEDURE internal.refresh_rollups(job_id int, config jsonb)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_target text;
BEGIN
    CALL internal.take_turn();
    FOREACH v_target IN ARRAY internal.rolled_up_targets() LOOP
        CALL internal.refresh_target(v_target);
    END LOOP;
    CALL internal.end_turn();
END
$procedure$;
COMMENT ON PROCEDURE internal.refresh_rollups IS 'The job that stores rollups of every target';

CREATE OR REPLACE PROCEDURE internal.refresh_period(
    p_target text, p_from timestamptz, p_to timestamptz
)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_from  timestamptz;
    v_to    timestamptz;
    v_parts record;
BEGIN
    CALL internal.take_turn();
    v_from := (SELECT greatest(p_from, dropped_before) FROM internal.target WHERE target = p_target);
    FOR v_parts IN
        SELECT 'parts_' || width AS name, step AS width FROM internal.rollup_width
        WHERE target = p_target
        ORDER BY step::interval
    LOOP
        -- Buckets that are not over stay with the job: stored ones would hide newer samples.
        v_to := least(p_to, date_bin(v_parts.width::interval, now(), internal.bucket_origin()));
        CONTINUE WHEN v_to < v_from + v_parts.width::interval;
        CALL internal.refresh_parts(format('%I.%I', p_target, v_parts.name)::regclass, v_from, v_to, true);
    END LOOP;
    CALL internal.end_turn();
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
