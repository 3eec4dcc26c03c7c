-- For each row of internal.sample_target: samples that come after their time was closed.
--
-- A write side copies them into {target}.late and then has refuse_packed ask blocks, in the same
-- transaction. What that refuses, and what others send, comes through staging to store_late.
--
-- What a block has is told by its step, without reading its values; where steps are irregular they are
-- read. Blocks are looked for as in blocks.sql and long_blocks.sql.

DROP FUNCTION IF EXISTS @target@.not_in_blocks(  -- that of earlier versions looked up what is packed
    timestamptz[], bigint[], float8[], numeric[], timestamptz, timestamptz);

-- Of hot rows and blocks the planner leaves out what the mark says has none of the period.
CREATE OR REPLACE FUNCTION @target@.not_in_blocks(
    p_time timestamptz[], p_series bigint[], p_value float8[], p_exact numeric[],
    p_lo timestamptz, p_hi timestamptz, p_packed timestamptz
)
RETURNS TABLE ("time" timestamptz, series_id bigint, value float8, exact numeric)
LANGUAGE sql
STABLE
AS $function$
    WITH n AS MATERIALIZED (
        SELECT *
        FROM unnest(p_time, p_series, p_value, p_exact) WITH ORDINALITY
            AS u (time, series_id, value, exact, number)
    ), reaching AS MATERIALIZED (  -- blocks of regular steps that have one, all others that may
        SELECT n.number, n.time, n.series_id, b.*
        FROM n
        CROSS JOIN LATERAL (
            SELECT b.first_time, b.step_ms, false AS is_long FROM @target@.block AS b
            WHERE b.series_id = n.series_id AND b.first_time <= n.time
                AND b.first_time >= date_bin('6 hours', n.time, @origin@)
                AND b.first_time >= date_bin('6 hours', p_lo, @origin@) AND b.first_time <= p_hi
                AND @may_have_time@
            UNION ALL
            SELECT b.first_time, b.step_ms, true FROM @target@.long_block AS b
            WHERE b.series_id = n.series_id AND b.first_time <= n.time
                AND b.first_time >= date_bin('7 days', n.time, @origin@)
                AND b.first_time >= date_bin('7 days', p_lo, @origin@) AND b.first_time <= p_hi
                AND @may_have_time@
        ) AS b
    ), irregular AS (  -- each is read once, for all that may be in it
        SELECT series_id, first_time, is_long,
            array_agg((1000 * date_part('epoch', time - first_time))::bigint ORDER BY time, number)
                AS after_ms,
            array_agg(number ORDER BY time, number) AS numbers
        FROM reaching
        WHERE step_ms IS NULL AND date_bin('1 millisecond', time, @origin@) = time
        GROUP BY 1, 2, 3
    )
    SELECT n.time, n.series_id, n.value, n.exact
    FROM n
    WHERE (
            SELECT true FROM @target@.hot AS h
            WHERE h.series_id = n.series_id AND h.time = n.time
                AND h.time >= greatest(p_lo, p_packed) AND h.time <= p_hi
            LIMIT 1
        ) IS NULL
        AND n.number NOT IN (
            -- DISTINCT, of which the planner expects few, and so looks them up by hash.
            SELECT DISTINCT k.number
            FROM (
                SELECT number FROM reaching WHERE step_ms IS NOT NULL
                UNION ALL
                SELECT i.numbers[r.place]
                FROM irregular AS i
                CROSS JOIN LATERAL (
                    SELECT b.steps FROM @target@.block AS b
                    WHERE NOT i.is_long
                        AND b.series_id = i.series_id AND b.first_time = i.first_time
                        AND b.first_time >= date_bin('6 hours', p_lo, @origin@)
                        AND b.first_time <= p_hi
                    UNION ALL
                    SELECT b.steps FROM @target@.long_block AS b
                    WHERE i.is_long
                        AND b.series_id = i.series_id AND b.first_time = i.first_time
                        AND b.first_time >= date_bin('7 days', p_lo, @origin@)
                        AND b.first_time <= p_hi
                ) AS b
                CROSS JOIN LATERAL internal.reached(b.steps, i.after_ms) AS r (place)
            ) AS k
        )
$function$;
COMMENT ON FUNCTION @target@.not_in_blocks IS
    'Those of these samples, of times from p_lo to p_hi, that neither hot rows from p_packed on nor blocks before it have. Parallel arrays';

CREATE OR REPLACE FUNCTION @target@.may_be_packed(
    p_series bigint[], p_from timestamptz, p_to timestamptz
)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $function$
BEGIN
    -- A plan for these partitions; series are a parameter to it, so that it takes them to be few, and
    -- looks up each. There is one question a table: a partition of it is read in key order.
    RETURN p_to >= (SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
        OR EXISTS (
            SELECT FROM @target@.block AS b
            WHERE b.series_id = ANY ((SELECT p_series)::bigint[]) AND b.last_time >= p_from
                AND b.first_time >= date_bin('6 hours', p_from, @origin@) AND b.first_time <= p_to
        ) OR EXISTS (
            SELECT FROM @target@.long_block AS b
            WHERE b.series_id = ANY ((SELECT p_series)::bigint[]) AND b.last_time >= p_from
                AND b.first_time >= date_bin('7 days', p_from, @origin@) AND b.first_time <= p_to
        );
END
$function$;
COMMENT ON FUNCTION @target@.may_be_packed IS
    'Whether samples of these series, of times from p_from up to and including p_to, may stand in blocks or in hot rows: false is certain';

CREATE OR REPLACE FUNCTION @target@.refuse_packed(
    p_series bigint[], p_from timestamptz, p_to timestamptz
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
        OR @target@.may_be_packed(p_series, p_from, p_to)
    THEN
        RAISE EXCEPTION 'blocks of @target@ may have such samples'
            USING ERRCODE = 'serialization_failure', HINT = 'They go through staging_@target@.sample.';
    END IF;
END
$function$;
COMMENT ON FUNCTION @target@.refuse_packed IS
    'For who has copied samples into late in this transaction, of READ COMMITTED: an error 40001 if they may stand in blocks or in hot rows, too';

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
    v_lo     timestamptz;
    v_hi     timestamptz;
    v_packed text;  -- whether the row is still the same
    v_before timestamptz;
    v_new    bigint;
    v_again  bigint;
BEGIN
    -- An older snapshot does not see what was packed since, and would let a duplicate in.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'late samples are taken in transactions of READ COMMITTED only'
            USING ERRCODE = 'feature_not_supported';
    END IF;
    SELECT k.xmin::text, k.packed_before INTO v_packed, v_before
    FROM internal.packed AS k WHERE k.target = '@target@';
    SELECT min(t), max(t) INTO v_lo, v_hi FROM unnest(p_time) AS t;
    -- Nearly always they may not, and to ask costs a tenth of looking for each.
    IF v_hi >= v_before OR @target@.may_be_packed(p_series, v_lo, v_hi) THEN
        SELECT array_agg(n.time), array_agg(n.series_id), array_agg(n.value), array_agg(n.exact)
        INTO p_time, p_series, p_value, p_exact
        FROM @target@.not_in_blocks(p_time, p_series, p_value, p_exact, v_lo, v_hi, v_before) AS n;
    END IF;
    -- In key order, so that two writers never wait in a circle.
    IF current_setting('promgres.duplicates', true) IS DISTINCT FROM 'likely' THEN
        BEGIN
            -- As in move.sql: without ON CONFLICT it costs half.
            INSERT INTO @target@.late (time, series_id, value, exact)
            SELECT * FROM unnest(p_time, p_series, p_value, p_exact) AS u (time, series_id, value, exact)
            ORDER BY series_id, time;
            GET DIAGNOSTICS v_new = ROW_COUNT;
        EXCEPTION WHEN unique_violation THEN
            v_new := NULL;
        END;
    END IF;
    IF v_new IS NULL THEN
        INSERT INTO @target@.late (time, series_id, value, exact)
        SELECT * FROM unnest(p_time, p_series, p_value, p_exact) AS u (time, series_id, value, exact)
        ORDER BY series_id, time
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_new = ROW_COUNT;
    END IF;
    -- Late rows that were put into blocks between the look into blocks and the key's into late were in
    -- neither. So no lock is needed: if pack_late was committed since, there are looked for once more, and
    -- what a block has is a row of ours, since nobody else's may stand beside it.
    IF v_packed = (SELECT k.xmin::text FROM internal.packed AS k WHERE k.target = '@target@') THEN
        RETURN v_new;
    END IF;
    v_before := (SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@');
    PERFORM set_config('promgres.moves_samples', 'yes', true);
    DELETE FROM @target@.late AS l
    USING unnest(p_time, p_series) AS n (time, series_id)
    LEFT JOIN @target@.not_in_blocks(p_time, p_series, p_value, p_exact, v_lo, v_hi, v_before) AS m
        ON m.series_id = n.series_id AND m.time = n.time
    WHERE m.time IS NULL AND l.series_id = n.series_id AND l.time = n.time
        AND l.time >= v_lo AND l.time <= v_hi;
    GET DIAGNOSTICS v_again = ROW_COUNT;
    PERFORM set_config('promgres.moves_samples', '', true);
    RETURN v_new - v_again;
END
$function$;
COMMENT ON FUNCTION @target@.store_late IS
    'Stores those of these samples that are new, of times that are closed; returns how many. Parallel arrays';
