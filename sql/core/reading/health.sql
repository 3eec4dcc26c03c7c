-- What `/ui/status` tells operators of the database: of the doctor's checks (sql/doctor/) those that
-- the read side's login can be answered within milliseconds, with the thresholds of
-- ingest/doctor/case.py. It names no tenant.

CREATE OR REPLACE FUNCTION internal.health()
RETURNS TABLE ("check" text, level text, what text, todo text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    v_engine  text := (SELECT s.value FROM internal.setting AS s WHERE s.key = 'engine');
    v_used    int := (SELECT sum(d.numbackends) FROM pg_stat_database AS d);
    v_usable  int := current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int;
    v_staging bigint;
    v_age     int := (SELECT age(d.datfrozenxid) FROM pg_database AS d WHERE d.datname = current_database());
    v_since   timestamptz;
    v_blocks  bigint;
    v_rows    bigint;
BEGIN
    "check" := 'database';
    level := 'ok';
    what := format('PostgreSQL %s, engine %s, %s', current_setting('server_version'), v_engine,
        pg_size_pretty(pg_database_size(current_database())));
    todo := '';
    RETURN NEXT;

    "check" := 'connections';
    what := format('%s of %s in use', v_used, v_usable);
    level := CASE WHEN v_used >= 0.95 * v_usable THEN 'problem' WHEN v_used >= 0.8 * v_usable THEN 'warning' ELSE 'ok' END;
    todo := CASE level WHEN 'ok' THEN '' ELSE 'find who takes them in pg_stat_activity' END;
    RETURN NEXT;

    "check" := 'rollups';
    EXECUTE CASE v_engine
        WHEN 'timescaledb' THEN
            $q$SELECT min(nullif(s.last_successful_finish, '-infinity'))
            FROM timescaledb_information.jobs AS j
            JOIN timescaledb_information.job_stats AS s USING (job_id)
            WHERE j.proc_name = 'refresh_rollups'$q$
        ELSE
            $q$SELECT min(coalesce(m.minute, m.hour))
            FROM (
                SELECT hour, minute FROM internal.rollup_mark
                UNION ALL
                SELECT hour, minute FROM cumsum.rollup_mark
            ) AS m
            WHERE coalesce(m.minute, m.hour + interval '59 minutes') < now() - interval '6 minutes'$q$
    END INTO v_since;
    level := CASE WHEN v_since < now() - interval '6 minutes' THEN 'warning' ELSE 'ok' END;
    what := CASE WHEN level = 'ok' THEN 'stored up to the last minutes'
        ELSE format('%s behind: reading what waits is right, and slow', date_trunc('second', now() - v_since)) END;
    todo := CASE level WHEN 'ok' THEN '' ELSE 'promgres doctor says whether somebody stores them' END;
    RETURN NEXT;

    "check" := 'staging';
    v_staging := (
        SELECT coalesce(sum(pg_table_size(c.oid)), 0)
        FROM pg_class AS c
        WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND c.relnamespace IN (
            SELECT n.oid FROM pg_namespace AS n
            WHERE n.nspname IN ('staging_internal', 'staging_cumsum', 'staging_geo', 'staging_app'))
    );
    level := CASE WHEN v_staging > 512 * 1024 * 1024 THEN 'warning' ELSE 'ok' END;
    what := pg_size_pretty(v_staging);
    todo := CASE level WHEN 'ok' THEN '' ELSE 'promgres doctor says who holds it' END;
    RETURN NEXT;

    "check" := 'transactions';
    level := CASE WHEN v_age >= 1600000000 THEN 'problem' WHEN v_age >= 1000000000 THEN 'warning' ELSE 'ok' END;
    what := format('the oldest row is %s transactions back', to_char(v_age, 'FM999,999,999,999'));
    todo := CASE level WHEN 'ok' THEN '' ELSE 'VACUUM (FREEZE, SKIP_LOCKED)' END;
    RETURN NEXT;

    -- Cold samples of engine postgres; on the other the extension compresses.
    SELECT coalesce(sum(pg_total_relation_size(p.relid)) FILTER (WHERE r.name LIKE '%block'), 0),
        coalesce(sum(pg_total_relation_size(p.relid)) FILTER (WHERE r.name NOT LIKE '%block'), 0)
    INTO v_blocks, v_rows
    FROM unnest(ARRAY['internal', 'cumsum', 'geo']) AS t (target)
    CROSS JOIN unnest(ARRAY['block', 'long_block', 'hot', 'late']) AS r (name)
    CROSS JOIN LATERAL pg_partition_tree(to_regclass(format('%I.%I', t.target, r.name))) AS p;
    IF v_blocks + v_rows > 0 THEN
        "check" := 'blocks';
        level := 'ok';
        what := format('%s in blocks, %s in rows', pg_size_pretty(v_blocks), pg_size_pretty(v_rows));
        todo := '';
        RETURN NEXT;
    END IF;
END
$$;
COMMENT ON FUNCTION internal.health IS
    'What the read side tells operators: a row a check, its level (ok, warning, problem), what was found, what helps';

REVOKE ALL ON FUNCTION internal.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION internal.health() TO authenticator, promgres_api;
