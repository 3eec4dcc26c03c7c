-- For each row of internal.sample_target: samples that come after their time was closed.
--
-- What a block has is told by its step, without reading its values; where steps are irregular they are
-- read. Blocks are looked for as in blocks.sql and long_blocks.sql.

CREATE OR REPLACE FUNCTION @target@.store_late(
    p_time timestamptz[], p_series bigint[], p_value float8[], p_exact numeric[]
)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
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
    -- Look-ups as scalars, so that each is a step into an index, whatever the planner thinks of
    -- partitions without statistics. In key order, so that two writers never wait in a circle.
    INSERT INTO @target@.late (time, series_id, value, exact)
    SELECT n.time, n.series_id, n.value, n.exact
    FROM unnest(p_time, p_series, p_value, p_exact) AS n (time, series_id, value, exact)
    WHERE (
            SELECT true FROM @target@.hot AS h
            WHERE h.series_id = n.series_id AND h.time = n.time
                AND h.time >= v_lo AND h.time <= v_hi
                AND h.time >= (
                    SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
            LIMIT 1
        ) IS NULL
        AND (
            SELECT true FROM @target@.block AS b
            WHERE b.series_id = n.series_id AND b.first_time <= n.time
                AND b.first_time >= date_bin('6 hours', n.time, @origin@)
                AND b.first_time >= date_bin('6 hours', v_lo, @origin@) AND b.first_time <= v_hi
                AND @has_time@
            LIMIT 1
        ) IS NULL
        AND (
            SELECT true FROM @target@.long_block AS b
            WHERE b.series_id = n.series_id AND b.first_time <= n.time
                AND b.first_time >= date_bin('7 days', n.time, @origin@)
                AND b.first_time >= date_bin('7 days', v_lo, @origin@) AND b.first_time <= v_hi
                AND @has_time@
            LIMIT 1
        ) IS NULL
    ORDER BY n.series_id, n.time
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_new = ROW_COUNT;
    RETURN v_new;
END
$function$;
COMMENT ON FUNCTION @target@.store_late IS
    'Stores those of these samples that are new, of times that are closed; returns how many. Parallel arrays';
