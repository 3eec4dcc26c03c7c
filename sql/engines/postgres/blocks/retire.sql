-- Partitions whose rows are in blocks are dropped, but not before the last transaction that may read
-- them is over: DROP is no matter of snapshots, and a reader with an older one (pg_dump, REPEATABLE
-- READ) would find neither rows nor blocks.
--
-- Snapshots of others are shown to superusers only; that a transaction is under way is shown to all. So
-- it waits for those that were there at some moment after the rows were packed; and once more for those
-- that are there then: a snapshot can be handed on, as parallel pg_dump does, while its owner lives.
--
-- The same at the other end. A transaction may not know of a partition that was attached since it
-- began to read (READ COMMITTED, a later statement: PostgreSQL looks for such news where a lock is taken
-- for the first time, and when a transaction begins). So what is already read somewhere else is moved
-- into a partition only when all are over that were there when it came.

CREATE OR REPLACE FUNCTION internal.settle_fresh(p_target text)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $function$
DECLARE
    v_done bigint;
    v_new  text[];
BEGIN
    PERFORM FROM internal.packed WHERE target = p_target FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM internal.fresh WHERE target = p_target) THEN
        RETURN 0;
    END IF;
    DELETE FROM internal.fresh
    WHERE target = p_target
        AND NOT waits_for && ARRAY(SELECT id FROM internal.transactions_under_way());
    GET DIAGNOSTICS v_done = ROW_COUNT;
    -- A statement sees committed rows before it looks who is under way: who begins later knows.
    v_new := ARRAY(SELECT name FROM internal.fresh WHERE target = p_target AND waits_for IS NULL);
    UPDATE internal.fresh SET waits_for = ARRAY(SELECT id FROM internal.transactions_under_way())
    WHERE target = p_target AND name = ANY (v_new);
    RETURN v_done + cardinality(v_new);
END
$function$;
COMMENT ON FUNCTION internal.settle_fresh IS
    'Looks which new partitions are known to all by now, and who may not know of the others; returns how many of either, 0 while it waits for them all';

CREATE OR REPLACE FUNCTION internal.is_settled(
    p_target text, p_table text, p_from timestamptz, p_to timestamptz
)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT NOT EXISTS (
        SELECT FROM internal.fresh AS f
        WHERE f.target = p_target AND starts_with(f.name, p_table || '_p')
            AND internal.partition_bounds(f.name) && tstzrange(p_from, p_to))
$function$;
COMMENT ON FUNCTION internal.is_settled IS
    'Whether all transactions know of the partitions of a table that there are for a period';

CREATE OR REPLACE FUNCTION internal.partition_at(
    p_target text, p_table text, p_time timestamptz, OUT name text, OUT bounds tstzrange
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT p.name, p.bounds FROM internal.partitions_of(p_target) AS p
    WHERE p."table" = p_table AND p.bounds @> p_time
$function$;
COMMENT ON FUNCTION internal.partition_at IS 'The partition of a table that a moment belongs to';

CREATE OR REPLACE FUNCTION internal.drop_retired(p_target text)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
SET enable_seqscan = off
SET jit = off
AS $function$
DECLARE
    v_now  text[];
    v_each record;
    v_late text;
    v_some boolean;
BEGIN
    PERFORM FROM internal.packed WHERE target = p_target FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR v_each IN
        SELECT * FROM internal.retired WHERE target = p_target ORDER BY retired_at, name
    LOOP
        -- After the statement above: what is to be seen in internal.retired is seen by all who
        -- begin from now on.
        v_now := ARRAY(SELECT id FROM internal.transactions_under_way());
        CONTINUE WHEN v_each.waits_for && v_now;
        IF v_each.waits_for IS NULL OR v_each.rounds < 2 THEN
            UPDATE internal.retired SET waits_for = v_now, rounds = rounds + 1
            WHERE (target, name) = (p_target, v_each.name);
            RETURN 1;
        END IF;
        -- Late rows, or histograms, may have come again, also while it waits for who brings them. By key,
        -- and once before it locks: entries of rows that are gone are passed over by who comes next.
        v_late := CASE WHEN v_each.name ~ '^(late|histogram_row)_'
                AND to_regclass(format('%I.%I', p_target, v_each.name)) IS NOT NULL
            THEN format('SELECT count(*) > 0 FROM (SELECT FROM %I.%I ORDER BY series_id LIMIT 1) AS l',
                p_target, v_each.name)
            ELSE 'SELECT false' END;
        EXECUTE v_late INTO v_some;
        IF NOT v_some THEN
            PERFORM internal.lock_partition(p_target, v_each.name);
            EXECUTE v_late INTO v_some;
        END IF;
        IF NOT v_some THEN
            EXECUTE format('DROP TABLE IF EXISTS %I.%I', p_target, v_each.name);
            DELETE FROM internal.fresh WHERE (target, name) = (p_target, v_each.name);
        END IF;
        DELETE FROM internal.retired WHERE (target, name) = (p_target, v_each.name);
        RETURN 1;
    END LOOP;
    RETURN 0;
END
$function$;
COMMENT ON FUNCTION internal.drop_retired IS
    'Drops one partition whose rows are in blocks and which nobody may read any more, or looks who may; 0 while it waits for them all. An error 55P03 says: somebody holds it, try later';

-- That of earlier versions did not say what is packed.
DO $drop$
BEGIN
    IF (SELECT 'packed_before' <> ALL (proargnames) FROM pg_proc
        WHERE oid = to_regprocedure('internal.packing_of(text)'))
    THEN
        DROP FUNCTION internal.packing_of(text);
    END IF;
END
$drop$;

CREATE OR REPLACE FUNCTION internal.packing_of(
    p_target text, OUT closed_before timestamptz, OUT packed_before timestamptz, OUT waiting int,
    OUT behind_seconds float8, OUT oldest text, OUT held_seconds float8, OUT held text,
    OUT holders int[]
)
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $function$
    SELECT k.closed_before, k.packed_before, coalesce(w.waiting, 0), coalesce(w.behind, 0), w.oldest,
        coalesce(r.held_for, 0), r.name,
        ARRAY(
            SELECT t.pid FROM internal.transactions_under_way() AS t
            WHERE t.id = ANY (r.waits_for)
                OR w.waiting > 0 AND EXISTS (
                    SELECT FROM internal.fresh AS f
                    WHERE f.target = p_target AND t.id = ANY (f.waits_for))
            UNION
            SELECT l.pid FROM pg_locks AS l
            WHERE l.granted AND l.pid <> pg_backend_pid() AND (
                l.relation = to_regclass(quote_ident(p_target) || '.' || quote_ident(w.oldest))
                    AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
                        'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
                OR l.relation = to_regclass(quote_ident(p_target) || '.' || quote_ident(r.name)))
            ORDER BY 1
        )
    FROM internal.packed AS k
    LEFT JOIN LATERAL (
        SELECT count(*)::int AS waiting,
            extract(epoch FROM now() - min(upper(p.bounds)))::float8 AS behind,
            (array_agg(p.name ORDER BY p.bounds))[1] AS oldest
        FROM internal.partitions_of(p_target) AS p
        WHERE internal.packs() AND p."table" = 'hot' AND upper(p.bounds) > k.packed_before
            AND upper(p.bounds) <= now() - interval '1 hour'
    ) AS w ON true
    LEFT JOIN LATERAL (
        SELECT extract(epoch FROM now() - q.retired_at)::float8 AS held_for, q.name, q.waits_for
        FROM internal.retired AS q WHERE q.target = p_target
        ORDER BY q.retired_at, q.name LIMIT 1
    ) AS r ON true
    WHERE k.target = p_target
$function$;
COMMENT ON FUNCTION internal.packing_of IS
    'How packing stands: partitions that are over and not in blocks yet, since when the oldest of them is over, since when the oldest packed one cannot be dropped, and the backends that hold either up';
