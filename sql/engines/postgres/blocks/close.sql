-- Closing: from then on a partition of hot rows takes none any more, whoever sends them and however.
-- That is a trigger on it, and not a number that writers look up: to make one takes a lock that waits for
-- whoever has written there, and from its commit on it is in force for every transaction, also for one
-- whose snapshot is older.

CREATE OR REPLACE FUNCTION internal.packs() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM internal.setting WHERE (key, value) = ('storage.pack', 'on')) $$;
COMMENT ON FUNCTION internal.packs IS 'The setting storage.pack of the last promgres migrate';

CREATE OR REPLACE FUNCTION internal.refuse_closed() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- 40001: our own writers go through staging then, where such samples are late ones.
    RAISE EXCEPTION '%.% is closed, its samples are being packed', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'serialization_failure',
            HINT = format('New samples go into staging_%s.sample; packed ones cannot be changed.',
                TG_TABLE_SCHEMA);
END
$function$;
COMMENT ON FUNCTION internal.refuse_closed IS 'The trigger of partitions that take no rows any more';

CREATE OR REPLACE FUNCTION internal.refuse_changes() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF TG_OP = 'INSERT' THEN
        RAISE EXCEPTION '%.% is a view: write %s into staging_%.%',
            TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_TABLE_NAME, TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'feature_not_supported';
    END IF;
    RAISE EXCEPTION '%.% is a view of rows and of packed %s, which cannot be changed: rows that are not packed yet stand in %.%',
        TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_TABLE_NAME, TG_TABLE_SCHEMA,
        CASE TG_TABLE_NAME WHEN 'sample' THEN 'hot' ELSE TG_TABLE_NAME || '_row' END
        USING ERRCODE = 'feature_not_supported';
END
$function$;
COMMENT ON FUNCTION internal.refuse_changes IS 'The trigger of the views of samples and of histograms';

CREATE OR REPLACE FUNCTION internal.close_hot(
    p_target text, p_before timestamptz DEFAULT now() - interval '1 hour',
    p_quiet interval DEFAULT '10 minutes'
)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
SET jit = off
AS $function$
DECLARE
    v_at      internal.packed;
    v_next    record;
    v_rows    bigint;
    v_past    timestamptz := p_before - interval '24 hours';
BEGIN
    SELECT * INTO v_at FROM internal.packed WHERE target = p_target FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR NOT internal.packs() THEN
        RETURN 0;
    END IF;
    -- No partition is made behind closed_before meanwhile, see internal.make_partitions.
    PERFORM pg_advisory_xact_lock(hashtextextended('promgres.partitions.' || p_target, 0));
    SELECT p.name, upper(p.bounds) AS stop, lower(p.bounds) AS start INTO v_next
    FROM internal.partitions_of(p_target) AS p
    WHERE p."table" = 'hot' AND upper(p.bounds) > v_at.closed_before
    ORDER BY start
    LIMIT 1;
    IF NOT FOUND OR v_next.stop > p_before THEN
        RETURN 0;
    END IF;

    -- Partitions of the past are there because somebody fills them, a backfill, or an older version
    -- did: they wait until nobody has for a while, or for six hours.
    IF v_next.stop <= v_past THEN
        SELECT sum(pg_stat_get_tuples_inserted(format('%I.%I', p_target, p.name)::regclass))
        INTO v_rows
        FROM internal.partitions_of(p_target) AS p
        WHERE p."table" = 'hot' AND lower(p.bounds) >= v_next.start AND upper(p.bounds) <= v_past;
        IF v_at.old_rows IS DISTINCT FROM v_rows AND p_quiet > interval '0' THEN
            UPDATE internal.packed SET old_rows = v_rows, old_since = now(),
                old_waits_since = coalesce(old_waits_since, now())
            WHERE target = p_target;
            v_at.old_since := now();
            v_at.old_waits_since := coalesce(v_at.old_waits_since, now());
        END IF;
        IF now() < v_at.old_since + p_quiet AND now() < v_at.old_waits_since + interval '6 hours' THEN
            RETURN 0;
        END IF;
        v_rows := v_rows - pg_stat_get_tuples_inserted(
            format('%I.%I', p_target, v_next.name)::regclass);
    END IF;

    -- For a day more, so that by then all know of them; and before writers of this one have to wait.
    PERFORM internal.make_partitions(p_target, 'block', v_next.start, v_next.stop + interval '18 hours');
    EXECUTE format(
        'CREATE TRIGGER closed BEFORE INSERT OR UPDATE OR DELETE ON %I.%I'
        ' FOR EACH ROW EXECUTE FUNCTION internal.refuse_closed()', p_target, v_next.name);
    UPDATE internal.packed
    SET closed_before = v_next.stop, old_rows = v_rows,
        old_waits_since = CASE WHEN v_next.stop <= v_past THEN old_waits_since END
    WHERE target = p_target;
    RETURN 1;
END
$function$;
COMMENT ON FUNCTION internal.close_hot IS
    'Closes the oldest partition of hot rows that ended before p_before; if it is of the past, once nobody has filled such ones for p_quiet. An error 55P03 says: somebody writes there, try later';
