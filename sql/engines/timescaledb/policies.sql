-- Retention and compression on engine timescaledb, as internal.setting says.

CREATE OR REPLACE FUNCTION internal.has_rollups(p_target text)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT p_target = ANY (internal.rolled_up_targets())
$function$;
COMMENT ON FUNCTION internal.has_rollups IS 'Whether samples of the target are aggregated';

CREATE OR REPLACE FUNCTION internal.waits_for_refresh(
    p_target text, p_from timestamptz, p_to timestamptz
)
RETURNS boolean
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    -- What was written is first noted by hypertable, samples and minutes and hours alike, and by
    -- the next refresh of one of its aggregates handed on to each of them.
    WITH rollup AS (
        SELECT mat_hypertable_id, raw_hypertable_id FROM _timescaledb_catalog.continuous_agg
        WHERE user_view_schema = p_target
    ),
    note AS (
        SELECT lowest_modified_value, greatest_modified_value
        FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log
        WHERE hypertable_id IN (SELECT raw_hypertable_id FROM rollup)
        UNION ALL
        SELECT lowest_modified_value, greatest_modified_value
        FROM _timescaledb_catalog.continuous_aggs_materialization_invalidation_log
        WHERE materialization_id IN (SELECT mat_hypertable_id FROM rollup)
    )
    SELECT EXISTS (
        SELECT FROM note
        WHERE lowest_modified_value < _timescaledb_functions.to_unix_microseconds(p_to)
            AND greatest_modified_value >= _timescaledb_functions.to_unix_microseconds(
                greatest(p_from, '4714-11-24 00:00+00 BC'))  -- no sample is older
    )
$function$;
COMMENT ON FUNCTION internal.waits_for_refresh IS
    'Whether samples of a period are in the target''s table and not yet in each of its rollups';

CREATE OR REPLACE PROCEDURE internal.give_up_before(p_target text, p_before timestamptz)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_tries int := 3;
    v_done  boolean := NOT internal.has_rollups(p_target);
BEGIN
    WHILE NOT v_done AND v_tries > 0 LOOP
        v_tries := v_tries - 1;
        COMMIT;
        CALL internal.refresh_target(p_target);
        -- Nobody writes while this is looked up, else a late sample could come in between.
        SET LOCAL lock_timeout = '500ms';
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %I.sample IN SHARE MODE', p_target);
            v_done := NOT internal.waits_for_refresh(
                p_target,
                (SELECT dropped_before FROM internal.target WHERE target = p_target), p_before)
                AND NOT internal.needs_samples_before(p_target, p_before);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            v_done := false;
        END;
    END LOOP;
    IF v_done THEN
        UPDATE internal.target SET dropped_before = p_before
        WHERE target = p_target AND dropped_before < p_before;
    END IF;
    COMMIT;
END
$procedure$;
COMMENT ON PROCEDURE internal.give_up_before IS
    'Has nothing accepted or recomputed before a moment any more, once all before it is in every rollup; if it cannot be now, leaves all as it is';

CREATE OR REPLACE PROCEDURE internal.drop_chunks_before(p_relation regclass, p_before timestamptz)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_end timestamptz;
BEGIN
    LOOP
        -- So many at once that their locks fit. Who reads a chunk, or dumps it, is not waited for.
        v_end := (
            SELECT max(range_end) FROM (
                SELECT c.range_end
                FROM public.show_chunks(p_relation, older_than => p_before) AS chunk
                JOIN timescaledb_information.chunks c
                    ON format('%I.%I', c.chunk_schema, c.chunk_name)::regclass = chunk
                ORDER BY c.range_end
                LIMIT 30
            ) AS oldest);
        EXIT WHEN v_end IS NULL;
        SET LOCAL lock_timeout = '500ms';
        BEGIN
            PERFORM public.drop_chunks(p_relation, older_than => v_end);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            EXIT;
        END;
        COMMIT;
    END LOOP;
    COMMIT;
END
$procedure$;
COMMENT ON PROCEDURE internal.drop_chunks_before IS
    'Drops chunks that end before a moment; those that somebody holds stay for the next time';

CREATE OR REPLACE PROCEDURE internal.drop_expired(job_id int, config jsonb)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_target   record;
    v_relation regclass;
    v_before   timestamptz;
BEGIN
    FOR v_target IN
        SELECT t.target,
            date_bin('1 day', now(), internal.bucket_origin()) - make_interval(hours => 24 * s.value::int)
                AS before,
            ARRAY(
                SELECT format('%I.%I', target, name)::regclass
                FROM internal.store WHERE store.target = t.target
                UNION ALL
                SELECT format('%I.parts_1m', t.target)::regclass WHERE internal.has_rollups(t.target)
            ) AS relations
        FROM internal.target t
        JOIN internal.setting s ON s.key = 'retention.' || t.target || '_days' AND s.value <> ''
        -- Until then a write side may accept what a shorter retention refuses.
        WHERE s.changed_at < now() - interval '5 minutes'
        ORDER BY t.target
    LOOP
        CALL internal.take_turn();
        IF EXISTS (
            SELECT FROM unnest(v_target.relations) AS relation,
                public.show_chunks(relation, older_than => v_target.before)
        ) THEN
            CALL internal.give_up_before(v_target.target, v_target.before);
        END IF;
        v_before := (
            SELECT least(dropped_before, v_target.before)
            FROM internal.target WHERE target = v_target.target);
        IF v_before > '-infinity' THEN
            FOREACH v_relation IN ARRAY v_target.relations LOOP
                CALL internal.drop_chunks_before(v_relation, v_before);
            END LOOP;
        END IF;
        CALL internal.end_turn();
    END LOOP;
END
$procedure$;
COMMENT ON PROCEDURE internal.drop_expired IS
    'The job that drops raw data and minutes past their retention, once they are in hours and days, which stay';

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
    FOREACH v_target IN ARRAY internal.rolled_up_targets() LOOP
        FOR v_chunk IN
            SELECT public.show_chunks(
                format('%I.parts_1m', v_target)::regclass, older_than => internal.compress_after())
            WHERE internal.compress_after() IS NOT NULL
        LOOP
            -- Between two chunks a refresh has its turn.
            CALL internal.take_turn();
            IF EXISTS (SELECT FROM pg_class WHERE oid = v_chunk) THEN
                PERFORM public.compress_chunk(v_chunk, if_not_compressed => true);
            END IF;
            CALL internal.end_turn();
        END LOOP;
    END LOOP;
END
$procedure$;
COMMENT ON PROCEDURE internal.compress_rollups IS
    'The job that compresses old minutes: seven times smaller. Late samples still reach them';

CREATE OR REPLACE PROCEDURE internal.make_series_hours(job_id int, config jsonb)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    v_target text;
    v_step   text;
    v_done   bigint;
BEGIN
    FOREACH v_target IN ARRAY internal.rolled_up_targets() LOOP
        FOREACH v_step IN ARRAY ARRAY['make_hours', 'drop_expired_hours'] LOOP
            LOOP
                BEGIN
                    EXECUTE format('SELECT %I.%I()', v_target, v_step) INTO v_done;
                EXCEPTION WHEN lock_not_available THEN
                    v_done := 0;
                END;
                COMMIT;
                EXIT WHEN v_done = 0;
            END LOOP;
        END LOOP;
    END LOOP;
END
$procedure$;
COMMENT ON PROCEDURE internal.make_series_hours IS
    'The job that makes hours of series, and drops them when they are past their retention';

-- The extension's jobs for us, in one list: from it they are made, brought back and examined.
CREATE OR REPLACE VIEW internal.job (job, proc_name, sql_schema, relation, every, compress_after) AS
SELECT 'internal.' || proc_name, proc_name, NULL::text, NULL::text, every, NULL::interval
FROM (VALUES
    ('refresh_rollups', interval '20 seconds'),
    ('drop_expired', interval '1 hour'),
    ('compress_rollups', interval '12 hours'),
    ('make_series_hours', interval '1 minute')
) AS of_ours (proc_name, every)
UNION ALL
SELECT format('compression of %s.%s', target, name), 'policy_compression', target, name,
    interval '12 hours', internal.compress_after()
FROM internal.store
WHERE internal.compress_after() IS NOT NULL;
COMMENT ON VIEW internal.job IS
    'Jobs that the settings ask for: procedures of ours, and the extension''s policies of a relation';

CREATE OR REPLACE FUNCTION internal.ensure_jobs()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $function$
DECLARE
    v_job     record;
    v_minutes int := 0;
BEGIN
    -- One that is there stays untouched: replacing it ends what is running for it.
    FOR v_job IN
        SELECT w.* FROM internal.job w
        WHERE NOT EXISTS (
            SELECT FROM timescaledb_information.jobs j
            WHERE j.proc_name = w.proc_name
                AND j.hypertable_schema IS NOT DISTINCT FROM w.sql_schema
                AND j.hypertable_name IS NOT DISTINCT FROM w.relation)
    LOOP
        IF v_job.proc_name = 'policy_compression' THEN
            -- One after the other: a server of default size has not enough workers for all at once.
            v_minutes := v_minutes + 1;
            PERFORM add_compression_policy(
                format('%I.%I', v_job.sql_schema, v_job.relation)::regclass, v_job.compress_after,
                schedule_interval => v_job.every,
                initial_start => now() + make_interval(mins => v_minutes));
        ELSE
            PERFORM add_job(format('internal.%I', v_job.proc_name)::regproc, v_job.every);
        END IF;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION internal.ensure_jobs IS 'Makes those of internal.job that are not there';

CREATE OR REPLACE FUNCTION internal.apply_policies(p_keys text[], p_values text[])
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_compress_after interval := internal.compress_after();
BEGIN
    INSERT INTO internal.setting (key, value, changed_at)
    SELECT k, v, now() FROM unnest(p_keys, p_values) AS given (k, v)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at
    WHERE setting.value <> excluded.value;

    IF internal.compress_after() IS DISTINCT FROM v_compress_after THEN
        PERFORM public.remove_compression_policy(
            format('%I.%I', target, name)::regclass, if_exists => true)
        FROM internal.store;
    END IF;
    PERFORM internal.ensure_jobs();
END
$function$;
COMMENT ON FUNCTION internal.apply_policies IS
    'Records the policies of the settings (empty is "never") and puts them in force, whatever is missing of them';
