-- For each row of internal.rolled_up: the worker of a target, which turns live buckets into stored
-- ones, a bounded piece at a time.

CREATE OR REPLACE FUNCTION @target@.rollup_round(
    p_window interval, p_before timestamptz, p_below timestamptz,
    OUT marks int, OUT oldest timestamptz
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_dropped_before timestamptz;
    v_taken          record;
    v_day            record;
BEGIN
    -- Samples are read after those have committed that relied on marks which are taken here (marks.sql).
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'rollups are stored in transactions of READ COMMITTED only'
            USING ERRCODE = 'feature_not_supported';
    END IF;
    -- Whoever holds this row is the only worker. Statements after it see all that the worker
    -- before us committed, so that its results are never overwritten by older ones. (Not FOR
    -- UPDATE: the foreign key of every new metric would wait until we are done.)
    SELECT dropped_before INTO v_dropped_before
    FROM internal.target WHERE target = '@target@'
    FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        marks := 0;
        RETURN;
    END IF;

    SELECT * INTO v_taken FROM @target@.take_marks(p_window, p_before, p_below);
    -- (An engine on several machines would wait here for the writers whose marks it took.)

    FOR v_day IN
        SELECT array_agg(k.metric_id) FILTER (WHERE k.metric_id IS NOT NULL) AS metrics,
            array_agg(k.hour) AS hours, array_agg(k.minutes) AS minutes
        FROM unnest(v_taken.metrics, v_taken.hours, v_taken.minutes)
            AS k (metric_id, hour, minutes)
        WHERE k.hour >= v_dropped_before  -- where raw samples are gone, what is stored must stay
        GROUP BY date_bin('24 hours', k.hour, @origin@), k.metric_id IS NULL
    LOOP
        PERFORM @target@.store_minutes(v_day.metrics, v_day.hours, v_day.minutes);
        PERFORM @target@.store_1h(v_day.metrics, v_day.hours);
        PERFORM @target@.store_1d(v_day.metrics, v_day.hours);
    END LOOP;
    marks := v_taken.marks;
    oldest := v_taken.oldest;
END
$function$;
COMMENT ON FUNCTION @target@.rollup_round IS
    'Stores rollups of the newest marked hours before p_below, p_window of them, up to p_before: how many marks that consumed, 0 when idle or when another worker is at it, and the oldest hour of them';

CREATE OR REPLACE FUNCTION @target@.rollup_work(
    p_window interval DEFAULT '1 hour', p_before timestamptz DEFAULT now() - interval '70 s'
)
RETURNS int
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT marks FROM @target@.rollup_round(p_window, p_before, NULL)
$function$;
COMMENT ON FUNCTION @target@.rollup_work IS
    'rollup_round of the newest marked hours of all; returns how many marks that consumed';

CREATE OR REPLACE FUNCTION @target@.mark_period(p_from timestamptz, p_to timestamptz)
RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_dropped timestamptz := (SELECT dropped_before FROM internal.target WHERE target = '@target@');
    v_marked  int;
BEGIN
    -- Blocks may stay longer than the late rows that belonged to them.
    INSERT INTO @target@.rollup_mark (hour)
    SELECT date_bin('1 hour', time, @origin@)
    FROM @target@.samples_between(greatest(p_from, v_dropped), p_to)
    UNION
    SELECT date_bin('1 hour', bucket, @origin@) FROM @target@.minutes_between(p_from, p_to)
    WHERE bucket >= v_dropped;
    GET DIAGNOSTICS v_marked = ROW_COUNT;
    RETURN v_marked;
END
$function$;
COMMENT ON FUNCTION @target@.mark_period IS
    'Marks every hour of a period that has samples or a rollup, so that the worker recomputes it';

CREATE OR REPLACE FUNCTION @target@.has_work(p_from timestamptz, p_to timestamptz)
RETURNS boolean
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT EXISTS (
        SELECT FROM @target@.rollup_mark
        WHERE hour >= p_from AND hour < p_to
            AND (minute IS NULL OR minute < now() - interval '70 s')
    )
$function$;
COMMENT ON FUNCTION @target@.has_work IS
    'Whether the worker still has something to store in a period of whole hours';

CREATE OR REPLACE FUNCTION @target@.drop_expired_minutes(p_limit int DEFAULT 20000)
RETURNS int
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH dropped AS (
        DELETE FROM @target@.stored_1m
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM @target@.stored_1m
            WHERE bucket < (SELECT dropped_before FROM internal.target WHERE target = '@target@')
            LIMIT p_limit
        ))
        RETURNING 1
    ),
    packed AS (
        DELETE FROM @target@.packed_1m
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM @target@.packed_1m
            WHERE span <= (
                SELECT dropped_before FROM internal.target WHERE target = '@target@'
            ) - interval '3 hours'
            LIMIT p_limit
        ))
        RETURNING 1
    ),
    unused AS (
        DELETE FROM internal.minute
        WHERE bucket < (
            SELECT min(dropped_before) FROM internal.target JOIN internal.rolled_up USING (target))
    )
    SELECT greatest((SELECT count(*) FROM dropped), (SELECT count(*) FROM packed))::int
$function$;
COMMENT ON FUNCTION @target@.drop_expired_minutes IS
    'Deletes up to p_limit rows of minutes whose raw samples were dropped, and as many of packed ones; hours and days stay';
