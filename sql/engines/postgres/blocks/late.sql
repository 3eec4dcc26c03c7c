-- For each row of internal.sample_target: samples that come after their time was closed.
--
-- What a block has is told by its step, without reading its values; where steps are irregular they are
-- read. Blocks are looked for as in blocks.sql and long_blocks.sql.

CREATE OR REPLACE FUNCTION @target@.not_in_blocks(
    p_time timestamptz[], p_series bigint[], p_value float8[], p_exact numeric[],
    p_lo timestamptz, p_hi timestamptz
)
RETURNS TABLE ("time" timestamptz, series_id bigint, value float8, exact numeric)
LANGUAGE sql
STABLE
AS $function$
    SELECT n.time, n.series_id, n.value, n.exact
    FROM unnest(p_time, p_series, p_value, p_exact) AS n (time, series_id, value, exact)
    WHERE (
            SELECT true FROM @target@.hot AS h
            WHERE h.series_id = n.series_id AND h.time = n.time
                AND h.time >= p_lo AND h.time <= p_hi
                AND h.time >= (
                    SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
            LIMIT 1
        ) IS NULL
        AND (
            SELECT true FROM @target@.block AS b
            WHERE b.series_id = n.series_id AND b.first_time <= n.time
                AND b.first_time >= date_bin('6 hours', n.time, @origin@)
                AND b.first_time >= date_bin('6 hours', p_lo, @origin@) AND b.first_time <= p_hi
                AND @has_time@
            LIMIT 1
        ) IS NULL
        AND (
            SELECT true FROM @target@.long_block AS b
            WHERE b.series_id = n.series_id AND b.first_time <= n.time
                AND b.first_time >= date_bin('7 days', n.time, @origin@)
                AND b.first_time >= date_bin('7 days', p_lo, @origin@) AND b.first_time <= p_hi
                AND @has_time@
            LIMIT 1
        ) IS NULL
$function$;
COMMENT ON FUNCTION @target@.not_in_blocks IS
    'Those of these samples, of times from p_lo to p_hi, that neither hot rows nor blocks have. Parallel arrays';

CREATE OR REPLACE FUNCTION @target@.store_late(
    p_time timestamptz[], p_series bigint[], p_value float8[], p_exact numeric[]
)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $function$
DECLARE
    v_lo  timestamptz;
    v_hi  timestamptz;
    v_new bigint;
BEGIN
    -- An older snapshot does not see what was packed since, and would let a duplicate in.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'late samples are taken in transactions of READ COMMITTED only'
            USING ERRCODE = 'feature_not_supported';
    END IF;
    -- While late rows are put into blocks, they are in neither for who looks with a fresh eye. A
    -- statement of its own, so that the next one sees what was done meanwhile.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('promgres.late.@target@', 0));
    SELECT min(t), max(t) INTO v_lo, v_hi FROM unnest(p_time) AS t;
    -- In key order, so that two writers never wait in a circle.
    IF current_setting('promgres.duplicates', true) IS DISTINCT FROM 'likely' THEN
        BEGIN
            -- As in move.sql: without ON CONFLICT it costs half.
            INSERT INTO @target@.late (time, series_id, value, exact)
            SELECT * FROM @target@.not_in_blocks(p_time, p_series, p_value, p_exact, v_lo, v_hi)
            ORDER BY series_id, time;
            GET DIAGNOSTICS v_new = ROW_COUNT;
            RETURN v_new;
        EXCEPTION WHEN unique_violation THEN
            v_new := NULL;
        END;
    END IF;
    INSERT INTO @target@.late (time, series_id, value, exact)
    SELECT * FROM @target@.not_in_blocks(p_time, p_series, p_value, p_exact, v_lo, v_hi)
    ORDER BY series_id, time
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_new = ROW_COUNT;
    RETURN v_new;
END
$function$;
COMMENT ON FUNCTION @target@.store_late IS
    'Stores those of these samples that are new, of times that are closed; returns how many. Parallel arrays';
