-- For each row of internal.sample_target: rows become blocks. Each function does one bounded step in its
-- transaction, and returns how much that was, 0 when there is nothing to do or somebody else is at it.
--
--   settle_fresh new partitions are known to all transactions by now        (retire.sql)
--   close_hot   a partition takes no rows any more                          (close.sql)
--   pack_hot    six hours of it: blocks nobody reads yet, some series at a time; with the last ones
--               packed_before moves, and from that commit on readers take these six hours from blocks
--   pack_late   late rows, where there are enough of them, and blocks of the same series and six hours
--               become one
--   join_blocks blocks of few samples become one of a day, or a week
--   drop_retired partitions whose rows are in blocks go, once nobody may read them there (retire.sql)
--
-- No sender waits for long: none of them takes a lock on rows or tables that a sender needs, but for
-- close_hot, drop_retired and the last lines of pack_late; and while they wait for one (lock_timeout: for
-- a partition that is being made, too), senders that come queue up behind them.
--
-- No JIT in any of them, nor where partitions are made and dropped: of a plan over many partitions it
-- compiles for seconds what runs for milliseconds.
--
-- A crash leaves rows or blocks, never neither, and what is read is always one of them: blocks before
-- packed_before, rows from there on.

CREATE OR REPLACE FUNCTION @target@.pack_hot(p_most int DEFAULT 500000)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET max_parallel_workers_per_gather = 0
SET lock_timeout = '100ms'
SET jit = off
AS $function$
DECLARE
    v_at   internal.packed;
    v_part record;
    v_from timestamptz;
    v_to   timestamptz;
    v_last bigint;
    v_done bigint;
BEGIN
    SELECT * INTO v_at FROM internal.packed WHERE target = '@target@' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR NOT internal.packs() OR v_at.packed_before = v_at.closed_before THEN
        RETURN 0;
    END IF;
    SELECT p.name, p.bounds, to_regclass(format('%I.%I', '@target@', p.name)) AS id INTO v_part
    FROM internal.partitions_of('@target@') AS p
    WHERE p."table" = 'hot' AND upper(p.bounds) > v_at.packed_before
        AND upper(p.bounds) <= v_at.closed_before
    ORDER BY lower(p.bounds)
    LIMIT 1;
    IF NOT FOUND THEN  -- past its retention, and gone
        UPDATE internal.packed SET packed_before = closed_before, packed_series = NULL
        WHERE target = '@target@';
        RETURN 1;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = v_part.id AND tgname = 'closed'
        AND tgenabled IN ('O', 'A'))
    THEN
        RAISE EXCEPTION '@target@.% is before closed_before and takes rows: its trigger "closed" is gone or off',
            v_part.name USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    v_from := greatest(v_at.packed_before, lower(v_part.bounds));
    v_to := v_from + interval '6 hours';
    IF internal.make_partitions('@target@', 'block', v_from, v_to - interval '1 microsecond') > 0 THEN
        RETURN 1;
    END IF;
    IF NOT internal.is_settled('@target@', 'block', v_from, v_to) THEN
        RETURN 0;
    END IF;
    IF v_at.packing_from IS DISTINCT FROM v_from THEN
        PERFORM set_config('promgres.moves_samples', 'yes', true);
        DELETE FROM @target@.block WHERE first_time >= v_from AND first_time < v_to;
        PERFORM set_config('promgres.moves_samples', '', true);
        v_at.packed_series := NULL;
    END IF;

    -- Pieces of about p_most rows, and of an eighth where that is more: each may read all of it.
    SELECT h.series_id INTO v_last
    FROM @target@.hot AS h
    WHERE h.time >= v_from AND h.time < v_to
        AND (v_at.packed_series IS NULL OR h.series_id > v_at.packed_series)
    ORDER BY h.series_id
    OFFSET greatest(p_most, (SELECT reltuples / 8 FROM pg_class WHERE oid = v_part.id)::bigint)
    LIMIT 1;

    WITH rows AS (
        SELECT h.series_id, v_from AS span, h.time, h.value, h.exact
        FROM @target@.hot AS h
        WHERE h.time >= v_from AND h.time < v_to
            AND (v_at.packed_series IS NULL OR h.series_id > v_at.packed_series)
            AND (v_last IS NULL OR h.series_id <= v_last)
            AND date_bin('1 millisecond', h.time, @origin@) = h.time
    ), made AS (
        INSERT INTO @target@.block
        @as_blocks@
        RETURNING count
    )
    SELECT coalesce(sum(count), 0) INTO v_done FROM made;

    IF v_last IS NOT NULL THEN
        UPDATE internal.packed SET packing_from = v_from, packed_series = v_last
        WHERE target = '@target@';
        RETURN greatest(v_done, 1);
    END IF;
    -- The last piece. What no step in milliseconds reaches stays a row.
    IF EXISTS (
        SELECT FROM @target@.hot AS h
        WHERE h.time >= v_from AND h.time < v_to
            AND date_bin('1 millisecond', h.time, @origin@) <> h.time
    ) THEN
        PERFORM internal.make_partitions('@target@', 'late', v_from, v_to - interval '1 microsecond');
        IF NOT internal.is_settled('@target@', 'late', v_from, v_to) THEN
            -- All series are in blocks: the next call comes here again, and finds nothing else to do.
            UPDATE internal.packed
            SET packing_from = v_from, packed_series = (
                SELECT max(h.series_id) FROM @target@.hot AS h WHERE h.time >= v_from AND h.time < v_to)
            WHERE target = '@target@';
            RETURN v_done;
        END IF;
        INSERT INTO @target@.late (time, series_id, value, exact)
        SELECT h.time, h.series_id, h.value, h.exact
        FROM @target@.hot AS h
        WHERE h.time >= v_from AND h.time < v_to
            AND date_bin('1 millisecond', h.time, @origin@) <> h.time
        ON CONFLICT DO NOTHING;
    END IF;
    UPDATE internal.packed SET packed_before = v_to, packing_from = NULL, packed_series = NULL
    WHERE target = '@target@';
    IF v_to >= upper(v_part.bounds) THEN
        INSERT INTO internal.retired (target, name) VALUES ('@target@', v_part.name)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN greatest(v_done, 1);
END
$function$;
COMMENT ON FUNCTION @target@.pack_hot IS
    'Packs about p_most rows of the oldest closed partition; returns how many';

CREATE OR REPLACE FUNCTION @target@.pack_late(
    p_most int DEFAULT 4000, p_least int DEFAULT 1000, p_quiet interval DEFAULT '2 minutes'
)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET max_parallel_workers_per_gather = 0
SET lock_timeout = '100ms'
SET jit = off
AS $function$
DECLARE
    v_at    internal.packed;
    v_part  record;
    v_rows  bigint;
    v_from  timestamptz;
    v_to    timestamptz;
    v_last  bigint;
    v_until bigint;
    v_done  bigint;
    v_came  record;  -- keys of late rows, and how many samples the blocks have that they are in now
BEGIN
    SELECT * INTO v_at FROM internal.packed WHERE target = '@target@' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR NOT internal.packs() THEN
        RETURN 0;
    END IF;
    SELECT sum(pg_stat_get_tuples_inserted(format('%I.%I', '@target@', p.name)::regclass)) INTO v_rows
    FROM internal.partitions_of('@target@') AS p WHERE p."table" = 'late';
    IF v_rows IS NULL THEN  -- no partition
        RETURN 0;
    END IF;
    IF v_at.late_rows IS DISTINCT FROM v_rows THEN
        UPDATE internal.packed SET late_rows = v_rows, late_since = now() WHERE target = '@target@';
        v_at.late_since := now();
    END IF;
    -- A backfill under way is left alone, unless a partition has a million rows: every round would
    -- pack the same blocks again.
    IF now() < v_at.late_since + p_quiet THEN
        p_least := greatest(p_least, 1000000);
    END IF;
    FOR v_part IN
        SELECT p.name, lower(p.bounds) AS start, least(upper(p.bounds), v_at.packed_before) AS stop
        FROM internal.partitions_of('@target@') AS p
        WHERE p."table" = 'late' AND lower(p.bounds) < v_at.packed_before
        ORDER BY 2
    LOOP
        EXIT WHEN v_from IS NOT NULL;
        PERFORM FROM @target@.late AS l
        WHERE l.time >= v_part.start AND l.time < v_part.stop
            AND date_bin('1 millisecond', l.time, @origin@) = l.time
        OFFSET p_least - 1 LIMIT 1;
        IF FOUND THEN
            v_from := v_part.start;
            v_to := v_part.stop;
        END IF;
    END LOOP;
    IF v_from IS NULL THEN
        RETURN 0;
    END IF;
    v_part := internal.partition_at('@target@', 'late', v_from);
    IF internal.make_partitions('@target@', 'block', v_from, v_to - interval '1 microsecond') > 0 THEN
        RETURN 1;
    END IF;
    IF NOT internal.is_settled('@target@', 'block', v_from, v_to) THEN
        RETURN 0;
    END IF;

    -- Series that have p_most late rows, or ten times as many samples in the blocks that these belong to.
    SELECT l.series_id INTO v_last
    FROM @target@.late AS l
    WHERE l.time >= v_from AND l.time < v_to
        AND date_bin('1 millisecond', l.time, @origin@) = l.time
    ORDER BY l.series_id
    OFFSET p_most LIMIT 1;
    WITH touched AS (
        SELECT DISTINCT l.series_id, date_bin('6 hours', l.time, @origin@) AS span
        FROM @target@.late AS l
        WHERE l.time >= v_from AND l.time < v_to AND (v_last IS NULL OR l.series_id <= v_last)
            AND date_bin('1 millisecond', l.time, @origin@) = l.time
    )
    SELECT s.series_id INTO v_until
    FROM (
        SELECT b.series_id, sum(sum(b.count)) OVER (ORDER BY b.series_id) AS samples
        FROM touched AS t
        JOIN @target@.block AS b ON b.series_id = t.series_id
            AND b.first_time >= t.span AND b.first_time < t.span + interval '6 hours'
        WHERE b.first_time >= v_from AND b.first_time < v_to
        GROUP BY 1
    ) AS s
    WHERE s.samples > 10 * p_most::bigint
    ORDER BY s.series_id
    LIMIT 1;
    v_last := coalesce(v_until, v_last);

    -- What takes time comes first. Nobody else changes these rows and blocks, and what comes meanwhile
    -- stays late.
    PERFORM set_config('promgres.moves_samples', 'yes', true);
    WITH came AS MATERIALIZED (
        SELECT l.* FROM @target@.late AS l
        WHERE l.time >= v_from AND l.time < v_to AND (v_last IS NULL OR l.series_id <= v_last)
            AND date_bin('1 millisecond', l.time, @origin@) = l.time
    ), touched AS (
        SELECT DISTINCT series_id, date_bin('6 hours', time, @origin@) AS span FROM came
    ), gone AS (
        DELETE FROM @target@.block AS b
        USING touched AS t
        WHERE b.series_id = t.series_id
            AND b.first_time >= t.span AND b.first_time < t.span + interval '6 hours'
            AND b.first_time >= v_from AND b.first_time < v_to
        RETURNING b.*
    ), rows AS (
        SELECT series_id, date_bin('6 hours', time, @origin@) AS span, time, value, exact FROM came
        UNION ALL
        SELECT b.series_id, date_bin('6 hours', b.first_time, @origin@), @samples_of@
    ), made AS (
        INSERT INTO @target@.block
        @as_blocks@
        RETURNING count
    )
    SELECT c.*, m.* INTO v_came
    FROM (SELECT array_agg(series_id) AS series, array_agg(time) AS times, count(*) FROM came) AS c,
        (SELECT sum(count) AS samples FROM made) AS m;

    -- Who brings one of these once more waits from here on until the commit. Whoever has looked before
    -- that commit where it stands finds a newer row of internal.packed, and looks again (store_late).
    UPDATE internal.packed
    SET joined_before = CASE WHEN v_last IS NULL
        THEN least(joined_before, date_bin('24 hours', v_from, @origin@)) ELSE joined_before END
    WHERE target = '@target@';
    DELETE FROM @target@.late AS l
    USING unnest(v_came.series, v_came.times) AS c (series_id, time)
    WHERE l.series_id = c.series_id AND l.time = c.time AND l.time >= v_from AND l.time < v_to;
    GET DIAGNOSTICS v_done = ROW_COUNT;
    PERFORM set_config('promgres.moves_samples', '', true);
    IF v_done <> v_came.count THEN
        RAISE EXCEPTION 'samples of @target@ were taken away while they were packed'
            USING ERRCODE = 'serialization_failure';
    END IF;

    -- Who drops a partition knows by this row since when nobody takes rows out of it.
    UPDATE internal.retired SET rounds = 0, waits_for = NULL
    WHERE (target, name) = ('@target@', v_part.name);
    IF v_last IS NULL THEN
        INSERT INTO internal.retired (target, name) VALUES ('@target@', v_part.name)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN greatest(v_came.samples, 1);
END
$function$;
COMMENT ON FUNCTION @target@.pack_late IS
    'Packs about p_most late rows of the oldest partition that has p_least of them, together with the blocks that they belong to, once none have come for p_quiet; returns how many samples these blocks have';

CREATE OR REPLACE FUNCTION @target@.join_blocks(p_most int DEFAULT 5000)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET max_parallel_workers_per_gather = 0
SET lock_timeout = '100ms'
SET jit = off
AS $function$
DECLARE
    v_at    internal.packed;
    v_day   timestamptz;
    v_week  timestamptz;
    v_each  record;
    v_done  bigint;
BEGIN
    SELECT * INTO v_at FROM internal.packed WHERE target = '@target@' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR NOT internal.packs() THEN
        RETURN 0;
    END IF;
    SELECT greatest(v_at.joined_before, min(lower(p.bounds))) INTO v_day
    FROM internal.partitions_of('@target@') AS p
    WHERE p."table" = 'block' AND upper(p.bounds) > v_at.joined_before;
    v_day := date_bin('24 hours', v_day, @origin@);
    IF NOT isfinite(v_day) OR v_day + interval '24 hours' > v_at.packed_before THEN
        RETURN 0;
    END IF;
    v_week := date_bin('7 days', v_day, @origin@);
    IF internal.make_partitions(
        '@target@', 'long_block', v_day, v_day + interval '24 hours' - interval '1 microsecond') > 0
    THEN
        RETURN 1;
    END IF;
    IF NOT internal.is_settled('@target@', 'long_block', v_week, v_day + interval '24 hours') THEN
        RETURN 0;
    END IF;
    -- A day's block of who will not have one of a week, at the end of the day; at that of the week
    -- those, and days of who has changed meanwhile. So what has few samples is moved once.
    FOR v_each IN
        SELECT * FROM (
            VALUES (interval '24 hours', v_day, v_day + interval '24 hours', 103),
                ('7 days', v_week, v_week + interval '7 days', 0),
                ('24 hours', v_week, v_week + interval '7 days', 0)
        ) AS e (width, lo, hi, least)
        WHERE e.hi = v_day + interval '24 hours'
    LOOP
        PERFORM set_config('promgres.moves_samples', 'yes', true);
        WITH parts AS MATERIALIZED (  -- a partition ends all blocks: retention drops it
            SELECT p.name, p.bounds FROM internal.partitions_of('@target@') AS p
            WHERE p."table" = 'long_block' AND p.bounds && tstzrange(v_each.lo, v_each.hi)
        ), few AS MATERIALIZED (
            SELECT a.series_id, min(a.first_time) AS start, max(a.first_time) AS final
            FROM (
                SELECT b.series_id, b.first_time, b.count FROM @target@.block AS b
                WHERE b.first_time >= v_each.lo AND b.first_time < v_each.hi
                    AND b.first_time < v_at.packed_before
                UNION ALL
                SELECT b.series_id, b.first_time, b.count FROM @target@.long_block AS b
                WHERE b.first_time >= v_each.lo AND b.first_time < v_each.hi
            ) AS a
            JOIN parts AS p ON p.bounds @> a.first_time
            GROUP BY a.series_id, p.name, date_bin(v_each.width, a.first_time, @origin@)
            HAVING count(*) > 1 AND sum(a.count) BETWEEN v_each.least AND 720
            LIMIT p_most
        ), short AS (
            DELETE FROM @target@.block AS b
            USING few AS f
            WHERE b.series_id = f.series_id AND b.first_time >= f.start AND b.first_time <= f.final
                AND b.first_time >= v_each.lo AND b.first_time < v_each.hi
            RETURNING b.*, f.start
        ), long AS (
            DELETE FROM @target@.long_block AS b
            USING few AS f
            WHERE b.series_id = f.series_id AND b.first_time >= f.start AND b.first_time <= f.final
                AND b.first_time >= v_each.lo AND b.first_time < v_each.hi
            RETURNING b.*, f.start
        ), gone AS (
            SELECT * FROM short UNION ALL SELECT * FROM long
        ), rows AS (
            SELECT b.series_id, b.start AS span, @samples_of@
        ), made AS (
            INSERT INTO @target@.long_block
            @as_blocks@
            RETURNING count
        )
        SELECT coalesce(sum(count), 0) INTO v_done FROM made;
        PERFORM set_config('promgres.moves_samples', '', true);
        IF v_done > 0 THEN
            RETURN v_done;
        END IF;
    END LOOP;
    UPDATE internal.packed SET joined_before = v_day + interval '24 hours' WHERE target = '@target@';
    RETURN 1;
END
$function$;
COMMENT ON FUNCTION @target@.join_blocks IS
    'Joins blocks of few samples, of one day or week, of p_most series at a time; returns how many samples these have';

CREATE OR REPLACE TRIGGER refuse_changes
    INSTEAD OF INSERT OR UPDATE OR DELETE ON @target@.sample
    FOR EACH ROW EXECUTE FUNCTION internal.refuse_changes();

COMMENT ON VIEW @target@.sample IS
    'Every sample of target @target@, one row a series and time stamp. A condition on time alone reads all blocks: @target@.samples_between(from, to) reads a period. New samples go into staging_@target@.sample';
COMMENT ON VIEW @target@.series_sample IS
    'Every sample of target @target@ with its series. Conditions on name, schema, tenant_id and series_id reach into blocks, one on time alone does not: @target@.series_samples_between(from, to) reads a period';
COMMENT ON VIEW @target@.series_sample_last_day IS
    'Samples of the last 24 hours with their series: of what is packed, no more is read';
COMMENT ON FUNCTION @target@.series_samples_between IS
    'Samples with p_from <= time < p_to, with their series; the planner sees through it';
COMMENT ON FUNCTION @target@.samples_between IS
    'Samples with p_from <= time < p_to; the planner sees through it';
