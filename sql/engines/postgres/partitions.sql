-- Partitions: made before the batch that needs them, dropped when all of them is past retention.
-- A partition's name tells its range: sample_p20260131 is a day, sample_p202601 a month, in UTC.
--
-- p_target is a store of internal.store: a target, whose samples are meant, or exemplar, histogram,
-- measure, event.

CREATE OR REPLACE FUNCTION internal.partition_bounds(p_name text)
RETURNS tstzrange
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $function$
    SELECT CASE length(digits)
        WHEN length('YYYYMM') THEN tstzrange(start, start + interval '1 month')
        ELSE tstzrange(start, start + interval '1 day')
    END
    FROM substring(p_name FROM '_p([0-9]+)$') AS digits, to_timestamp(digits, 'YYYYMMDD') AS start
$function$;
COMMENT ON FUNCTION internal.partition_bounds IS 'The period of a partition, from its name';

CREATE OR REPLACE FUNCTION internal.partitions_of(p_target text)
RETURNS TABLE (name text, bounds tstzrange)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT relname::text, internal.partition_bounds(relname)
    FROM internal.store AS s
    JOIN pg_inherits ON inhparent = format('%I.%I', s.target, s.name)::regclass
    JOIN pg_class ON pg_class.oid = inhrelid
    WHERE s.store = p_target AND relname ~ ('^' || s.name || '_p[0-9]{6}([0-9]{2})?$')
$function$;
COMMENT ON FUNCTION internal.partitions_of IS 'The attached partitions of a store that we made';

CREATE OR REPLACE FUNCTION internal.has_partition(p_target text, p_suffix text)
RETURNS boolean
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT EXISTS (
        SELECT FROM internal.store AS s
        JOIN pg_inherits ON inhparent = format('%I.%I', s.target, s.name)::regclass
        JOIN pg_class ON pg_class.oid = inhrelid
        WHERE s.store = p_target AND relname LIKE s.name || '\_p' || p_suffix
    )
$function$;
COMMENT ON FUNCTION internal.has_partition IS
    'Whether a store has an attached partition whose name ends as the LIKE pattern says';

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
    p_target text, p_from timestamptz, p_to timestamptz
)
RETURNS TABLE (suffix text, lower_bound timestamptz, upper_bound timestamptz)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $function$
    WITH month AS (
        SELECT start, to_char(start, 'YYYYMM') AS name
        FROM generate_series(date_trunc('month', p_from), p_to, interval '1 month') AS start
        WHERE NOT internal.has_partition(p_target, to_char(start, 'YYYYMM'))
    ),
    -- Days where raw data expires, so that it goes day by day; and in a month that has days already.
    by_month AS (
        SELECT *,
            internal.store_days(p_target) IS NULL
            AND NOT internal.has_partition(p_target, name || '__') AS whole
        FROM month
    )
    SELECT name, start, start + interval '1 month' FROM by_month WHERE whole
    UNION ALL
    SELECT to_char(day, 'YYYYMMDD'), day, day + interval '1 day'
    FROM by_month,
        generate_series(
            greatest(start, date_trunc('day', p_from)),
            least(start + interval '1 month' - interval '1 day', p_to),
            interval '1 day'
        ) AS day
    WHERE NOT whole AND NOT internal.has_partition(p_target, to_char(day, 'YYYYMMDD'))
$function$;
COMMENT ON FUNCTION internal.missing_partitions IS
    'Partitions that rows from p_from up to and including p_to need and that are not there';

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

CREATE OR REPLACE FUNCTION internal.ensure_partitions(
    p_target text, p_from timestamptz, p_to timestamptz
)
RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $function$
DECLARE
    v_store record;
    v_new   record;
    v_made  int := 0;
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
    IF NOT EXISTS (SELECT FROM internal.missing_partitions(p_target, p_from, p_to)) THEN
        RETURN 0;
    END IF;
    -- One maker at a time. ATTACH of a table that was made first does not wait for readers, which
    -- CREATE TABLE ... PARTITION OF does.
    PERFORM pg_advisory_xact_lock(hashtextextended('promgres.partitions.' || p_target, 0));
    FOR v_new IN SELECT * FROM internal.missing_partitions(p_target, p_from, p_to) LOOP
        EXECUTE format(
            'CREATE TABLE %1$I.%3$I (LIKE %1$I.%2$I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
            v_store.target, v_store.name, v_store.name || '_p' || v_new.suffix
        );
        EXECUTE format(
            'ALTER TABLE %1$I.%2$I ATTACH PARTITION %1$I.%3$I FOR VALUES FROM (%4$L) TO (%5$L)',
            v_store.target, v_store.name, v_store.name || '_p' || v_new.suffix,
            v_new.lower_bound, v_new.upper_bound
        );
        v_made := v_made + 1;
    END LOOP;
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
    END;
END
$function$;
COMMENT ON FUNCTION internal.has_marks_before IS
    'Whether rows of before p_before are still needed to compute rollups: only samples ever are';

CREATE OR REPLACE FUNCTION internal.drop_expired_partitions(p_target text, p_limit int DEFAULT 8)
RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '200ms'
AS $function$
DECLARE
    v_horizon timestamptz := now() - make_interval(days => internal.store_days(p_target));
    v_expired record;
    v_dropped int := 0;
BEGIN
    IF v_horizon IS NULL THEN
        RETURN 0;
    END IF;
    -- Only samples have a row there: of what is beside them nothing is computed that would
    -- have to know what is gone.
    PERFORM FROM internal.target WHERE target = p_target FOR NO KEY UPDATE;
    FOR v_expired IN
        SELECT s.target, p.name, upper(p.bounds) AS upper_bound
        FROM internal.store AS s, internal.partitions_of(p_target) AS p
        WHERE s.store = p_target AND upper(p.bounds) <= v_horizon
        ORDER BY upper_bound
        LIMIT p_limit
    LOOP
        EXIT WHEN internal.has_marks_before(p_target, v_expired.upper_bound);
        EXECUTE format('DROP TABLE %I.%I', v_expired.target, v_expired.name);
        UPDATE internal.target
        SET dropped_before = greatest(dropped_before, v_expired.upper_bound)
        WHERE target = p_target;
        v_dropped := v_dropped + 1;
    END LOOP;
    RETURN v_dropped;
END
$function$;
COMMENT ON FUNCTION internal.drop_expired_partitions IS
    'Drops up to p_limit partitions past the retention; an error 55P03 says: readers hold them, try later';
