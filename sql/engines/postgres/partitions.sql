-- Partitions: made before the batch that needs them, dropped when all of them is past retention.
-- A partition's name tells its range: hot_p2026013106 is six hours, exemplar_p20260131 a day,
-- block_p20260126w a week, late_p202601 a month, in UTC.
--
-- p_target is a store of internal.store: a target, whose samples are meant, or exemplar, histogram,
-- measure, event. Samples have four tables, see samples.sql; rows of histograms are in histogram_row.

-- Those of earlier versions knew one table a store.
DROP FUNCTION IF EXISTS internal.has_partition(text, text);
DROP FUNCTION IF EXISTS internal.missing_partitions(text, timestamptz, timestamptz);
DO $drop$
BEGIN
    IF (SELECT pronargs <> cardinality(proallargtypes) - 3 FROM pg_proc
        WHERE oid = to_regprocedure('internal.partitions_of(text)'))
    THEN
        DROP FUNCTION internal.partitions_of(text);
    END IF;
END
$drop$;

CREATE OR REPLACE VIEW internal.partitioned (store, target, name) AS
SELECT store, target, CASE name WHEN 'histogram' THEN 'histogram_row' ELSE name END
FROM internal.store WHERE name <> 'sample'
UNION ALL
SELECT s.store, s.target, t.name
FROM internal.store AS s, (VALUES ('hot'), ('late'), ('block'), ('long_block')) AS t (name)
WHERE s.name = 'sample';
COMMENT ON VIEW internal.partitioned IS 'Tables of each store that have partitions';

CREATE OR REPLACE FUNCTION internal.partition_bounds(p_name text)
RETURNS tstzrange
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $function$
    SELECT tstzrange(start, start + CASE
        WHEN p_name LIKE '%w' THEN interval '7 days'
        WHEN length(digits) = length('YYYYMM') THEN interval '1 month'
        WHEN length(digits) = length('YYYYMMDD') THEN interval '1 day'
        ELSE interval '6 hours'
    END)
    FROM substring(p_name FROM '_p([0-9]+)w?$') AS digits, to_timestamp(digits, 'YYYYMMDDHH24') AS start
$function$;
COMMENT ON FUNCTION internal.partition_bounds IS 'The period of a partition, from its name';

CREATE OR REPLACE FUNCTION internal.partitions_of(p_target text)
RETURNS TABLE (name text, bounds tstzrange, "table" text)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT relname::text, internal.partition_bounds(relname), s.name
    FROM internal.partitioned AS s
    JOIN pg_inherits ON inhparent = format('%I.%I', s.target, s.name)::regclass
    JOIN pg_class ON pg_class.oid = inhrelid
    WHERE s.store = p_target AND relname ~ ('^' || s.name || '_p[0-9]{6}([0-9]{2}){0,2}w?$')
$function$;
COMMENT ON FUNCTION internal.partitions_of IS
    'The attached partitions of a store that we made, and the table of each';

CREATE OR REPLACE FUNCTION internal.store_days(p_target text)
RETURNS int
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT internal.retention_days(target) FROM internal.store WHERE store = p_target
$function$;
COMMENT ON FUNCTION internal.store_days IS 'Days that the rows of a store stay; null is for ever';

CREATE OR REPLACE FUNCTION internal.missing_partitions(
    p_target text, p_table text, p_from timestamptz, p_to timestamptz
)
RETURNS TABLE (suffix text, lower_bound timestamptz, upper_bound timestamptz)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $function$
    -- Months where rows stay for ever, days where they expire. What will be packed goes in pieces
    -- of six hours, which are soon full; what comes from the past, with all that belongs to it.
    -- A year of days takes long to plan, and blocks are small: they may stay a sixth longer.
    WITH has AS MATERIALIZED (
        SELECT bounds FROM internal.partitions_of(p_target) WHERE "table" = p_table
    ),
    kind AS (
        SELECT days IS NULL OR p_table IN ('block', 'long_block') AND days >= 180 AS by_month,
            p_table = 'long_block' OR p_table = 'block' AND days >= 42 AS by_week,
            CASE WHEN p_table = 'hot' THEN (
                SELECT closed_before FROM internal.packed WHERE target = p_target
            ) ELSE '-infinity' END AS not_before,
            CASE WHEN p_table = 'hot' AND internal.packs() THEN now() - interval '24 hours'
                ELSE 'infinity' END AS whole_before
        FROM internal.store_days(p_target) AS days
    ),
    month AS (
        SELECT start, start + interval '1 month' AS stop
        FROM kind, generate_series(date_trunc('month', p_from), p_to, interval '1 month') AS start
    ),
    month_kind AS (
        SELECT month.start, month.stop, not_before, whole_before,
            by_month AND stop <= whole_before AND month.start >= not_before
                AND NOT EXISTS (SELECT FROM has WHERE bounds && tstzrange(month.start, stop)) AS whole
        FROM month, kind
    ),
    week AS (
        SELECT week.start, week.start + interval '7 days' AS stop
        FROM kind, generate_series(
            date_bin('7 days', p_from, internal.bucket_origin()), p_to, interval '7 days'
        ) AS week (start)
        WHERE by_week AND NOT by_month AND NOT EXISTS (
            SELECT FROM has WHERE bounds && tstzrange(week.start, week.start + interval '7 days'))
    ),
    day AS (
        SELECT day.start, day.start + interval '1 day' AS stop, not_before, whole_before
        FROM month_kind AS m,
            generate_series(
                greatest(m.start, date_trunc('day', p_from)),
                least(m.stop - interval '1 day', p_to),
                interval '1 day'
            ) AS day (start)
        WHERE NOT whole
            AND NOT EXISTS (SELECT FROM week AS w WHERE day.start >= w.start AND day.start < w.stop)
    ),
    day_kind AS (
        SELECT day.*,
            stop <= whole_before AND day.start >= not_before
                AND NOT EXISTS (SELECT FROM has WHERE bounds && tstzrange(day.start, stop)) AS whole
        FROM day
    )
    SELECT to_char(start, 'YYYYMM'), start, stop FROM month_kind WHERE whole
    UNION ALL
    SELECT to_char(start, 'YYYYMMDD') || 'w', start, stop FROM week
    UNION ALL
    SELECT to_char(start, 'YYYYMMDD'), start, stop FROM day_kind WHERE whole
    UNION ALL
    SELECT to_char(hours.start, 'YYYYMMDDHH24'), hours.start, hours.start + interval '6 hours'
    FROM day_kind AS d,
        generate_series(d.start, d.stop - interval '6 hours', interval '6 hours') AS hours (start)
    WHERE NOT whole AND hours.start >= not_before
        AND hours.start <= p_to AND hours.start + interval '6 hours' > p_from
        AND NOT EXISTS (
            SELECT FROM has
            WHERE bounds && tstzrange(hours.start, hours.start + interval '6 hours'))
$function$;
COMMENT ON FUNCTION internal.missing_partitions IS
    'Partitions of a table that rows from p_from up to and including p_to need and that are not there';

CREATE OR REPLACE FUNCTION internal.raw_start(p_target text)
RETURNS timestamptz
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT min(lower(bounds)) FROM internal.partitions_of(p_target)
$function$;
COMMENT ON FUNCTION internal.raw_start IS 'No raw sample of the target is older; null if it has none';

CREATE OR REPLACE FUNCTION internal.watch_partition(p_partition regclass)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER note_changed_samples AFTER DELETE OR UPDATE OR TRUNCATE ON %s'
        ' FOR EACH STATEMENT EXECUTE FUNCTION internal.note_changed_samples()', p_partition);
END
$function$;
COMMENT ON FUNCTION internal.watch_partition IS
    'Has a partition tell who remembers its samples when they are changed: a trigger for each statement is not inherited';

CREATE OR REPLACE FUNCTION internal.make_partitions(
    p_target text, p_table text, p_from timestamptz, p_to timestamptz
)
RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET jit = off
AS $function$
DECLARE
    v_schema text;
    v_new    record;
    v_made   int := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM internal.missing_partitions(p_target, p_table, p_from, p_to)) THEN
        RETURN 0;
    END IF;
    -- One maker at a time, and none while a partition is closed: nothing must open behind
    -- closed_before. ATTACH of a table that was made first does not wait for readers, which
    -- CREATE TABLE ... PARTITION OF does.
    PERFORM pg_advisory_xact_lock(hashtextextended('promgres.partitions.' || p_target, 0));
    SELECT target INTO STRICT v_schema FROM internal.store WHERE store = p_target;
    FOR v_new IN SELECT * FROM internal.missing_partitions(p_target, p_table, p_from, p_to) LOOP
        EXECUTE format(
            'CREATE TABLE %1$I.%3$I (LIKE %1$I.%2$I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
            v_schema, p_table, p_table || '_p' || v_new.suffix
        );
        EXECUTE format(
            'ALTER TABLE %1$I.%2$I ATTACH PARTITION %1$I.%3$I FOR VALUES FROM (%4$L) TO (%5$L)',
            v_schema, p_table, p_table || '_p' || v_new.suffix,
            v_new.lower_bound, v_new.upper_bound
        );
        IF p_table IN ('hot', 'late', 'block', 'long_block') THEN
            PERFORM internal.watch_partition(
                format('%I.%I', v_schema, p_table || '_p' || v_new.suffix)::regclass);
        END IF;
        IF p_table IN ('late', 'block', 'long_block') THEN
            INSERT INTO internal.fresh (target, name)
            VALUES (p_target, p_table || '_p' || v_new.suffix)
            ON CONFLICT (target, name) DO UPDATE SET waits_for = NULL;
        END IF;
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END
$function$;
COMMENT ON FUNCTION internal.make_partitions IS
    'Makes the partitions of a table for rows from p_from up to and including p_to';

CREATE OR REPLACE FUNCTION internal.ensure_partitions(
    p_target text, p_from timestamptz, p_to timestamptz
)
RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_store  record;
    v_closed timestamptz := (SELECT closed_before FROM internal.packed WHERE target = p_target);
    v_made   int := 0;
BEGIN
    -- A partition made again would give rollups a part of the samples they were computed from;
    -- what comes beside samples goes where they go.
    SELECT target, name, dropped_before INTO STRICT v_store
    FROM internal.store JOIN internal.target USING (target) WHERE store = p_target;
    IF p_from < v_store.dropped_before THEN
        RAISE EXCEPTION '%s of % before % are gone, none are taken there',
            v_store.name, v_store.target, v_store.dropped_before
            USING ERRCODE = 'datetime_field_overflow';
    END IF;
    IF v_store.name <> 'sample' THEN
        RETURN internal.make_partitions(
            p_target, (SELECT name FROM internal.partitioned WHERE store = p_target), p_from, p_to);
    END IF;
    IF p_to >= v_closed THEN
        v_made := internal.make_partitions(p_target, 'hot', greatest(p_from, v_closed), p_to);
    END IF;
    IF p_from < v_closed THEN
        v_made := v_made + internal.make_partitions(
            p_target, 'late', p_from, least(p_to, v_closed - interval '1 microsecond'));
    END IF;
    RETURN v_made;
END
$function$;
COMMENT ON FUNCTION internal.ensure_partitions IS
    'Makes the partitions for rows from p_from up to and including p_to; call it in a transaction of its own. An error 22008 says: retention has passed p_from';

CREATE OR REPLACE FUNCTION internal.has_marks_before(p_target text, p_before timestamptz)
RETURNS boolean
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN CASE p_target
        WHEN 'internal' THEN EXISTS (SELECT FROM internal.rollup_mark WHERE hour < p_before)
        WHEN 'cumsum' THEN EXISTS (SELECT FROM cumsum.rollup_mark WHERE hour < p_before)
        ELSE false
    END OR internal.needs_samples_before(p_target, p_before);
END
$function$;
COMMENT ON FUNCTION internal.has_marks_before IS
    'Whether rows of before p_before are still needed to compute rollups, or hours of series that are kept longer: only samples ever are';

-- To drop a partition locks its table, too. Who waits for that makes all others wait that come
-- meanwhile: not for long (the lock_timeout of the caller), and once, not for the table and then for the
-- partition.
CREATE OR REPLACE FUNCTION internal.lock_partition(p_schema text, p_name text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF to_regclass(format('%I.%I', p_schema, p_name)) IS NOT NULL THEN
        EXECUTE format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE',
            p_schema, regexp_replace(p_name, '_p[0-9]+w?$', ''));
        EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE NOWAIT', p_schema, p_name);
    END IF;
END
$function$;
COMMENT ON FUNCTION internal.lock_partition IS
    'Locks a partition, if it is there, and its table, as DROP TABLE does; an error 55P03 says: others hold them, try later';

CREATE OR REPLACE FUNCTION internal.drop_expired_partitions(p_target text, p_limit int DEFAULT 2)
RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '100ms'
SET jit = off
AS $function$
DECLARE
    v_horizon timestamptz := now() - make_interval(days => internal.store_days(p_target));
    v_packed  text := CASE p_target WHEN 'histogram' THEN 'internal' ELSE p_target END;
    v_expired record;
    v_dropped int := 0;
BEGIN
    IF v_horizon IS NULL THEN
        RETURN 0;
    END IF;
    -- Only samples have a row there, and histograms share one: of what is beside them nothing is computed
    -- that would have to know what is gone. While somebody packs, or drops what is packed, it waits for
    -- the next time.
    PERFORM FROM internal.packed WHERE target = v_packed FOR UPDATE SKIP LOCKED;
    IF NOT FOUND AND EXISTS (SELECT FROM internal.packed WHERE target = v_packed) THEN
        RETURN 0;
    END IF;
    PERFORM FROM internal.target WHERE target = p_target FOR NO KEY UPDATE;
    FOR v_expired IN
        SELECT s.target, p.name, upper(p.bounds) AS upper_bound
        FROM internal.store AS s, internal.partitions_of(p_target) AS p
        WHERE s.store = p_target AND upper(p.bounds) <= date_trunc('day', v_horizon)
        ORDER BY upper_bound, p.name
        LIMIT p_limit
    LOOP
        EXIT WHEN internal.has_marks_before(p_target, v_expired.upper_bound);
        BEGIN
            PERFORM internal.lock_partition(v_expired.target, v_expired.name);
        EXCEPTION WHEN lock_not_available THEN
            IF v_dropped = 0 THEN
                RAISE;
            END IF;
            EXIT;
        END;
        EXECUTE format('DROP TABLE %I.%I', v_expired.target, v_expired.name);
        DELETE FROM internal.retired WHERE (target, name) = (p_target, v_expired.name);
        DELETE FROM internal.fresh WHERE (target, name) = (p_target, v_expired.name);
        UPDATE internal.target
        SET dropped_before = greatest(dropped_before, v_expired.upper_bound)
        WHERE target = p_target;
        v_dropped := v_dropped + 1;
        SET LOCAL lock_timeout = '1ms';  -- who waits for the first one does not for the next
    END LOOP;
    RETURN v_dropped;
END
$function$;
COMMENT ON FUNCTION internal.drop_expired_partitions IS
    'Drops up to p_limit partitions past the retention, for which writers wait; an error 55P03 says: readers hold them, try later';
