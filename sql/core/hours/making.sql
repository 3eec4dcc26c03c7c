-- For each row of internal.rolled_up: hours of series are made, a bounded piece at a time. What is
-- waited for, and why, stands in state.sql.

CREATE OR REPLACE FUNCTION @target@.forget_hours()
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_hashjoin = off  -- the days of some series, of partitions without statistics
SET enable_mergejoin = off
AS $function$
DECLARE
    v_done bigint;
BEGIN
    WITH mark AS (
        DELETE FROM internal.hours_mark WHERE target = '@target@' RETURNING series_id, day
    ), marked AS (
        SELECT DISTINCT series_id, day FROM mark
    ), gone AS (
        DELETE FROM @target@.series_hours AS h USING marked AS m
        WHERE (h.series_id, h.day) = (m.series_id, m.day)
    )
    INSERT INTO internal.hours_todo (target, series_id, day)
    SELECT '@target@', m.series_id, m.day FROM marked AS m
    WHERE m.day >= (SELECT t.dropped_before FROM internal.target AS t WHERE t.target = '@target@')
    ON CONFLICT (series_id, day) DO UPDATE SET since = excluded.since;
    GET DIAGNOSTICS v_done = ROW_COUNT;
    RETURN v_done;
END
$function$;
COMMENT ON FUNCTION @target@.forget_hours IS
    'Deletes marks and the hours that they are about, which are to be made again; returns how many';

CREATE OR REPLACE FUNCTION @target@.store_hours(p_day timestamptz, p_series bigint[], p_least int)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET extra_float_digits = 1
SET work_mem = '64MB'
SET max_parallel_workers_per_gather = 0
AS $function$
DECLARE
    v_month text := 'series_hours_p' || to_char(p_day AT TIME ZONE 'UTC', 'YYYYMM');
    v_start timestamptz := date_trunc('month', p_day, 'UTC');
    v_done  bigint;
BEGIN
    -- Made, then attached, which waits for no reader.
    IF to_regclass(format('@target@.%I', v_month)) IS NULL THEN
        EXECUTE format('CREATE TABLE @target@.%I (LIKE @target@.series_hours)', v_month);
        EXECUTE format(
            'ALTER TABLE @target@.series_hours ATTACH PARTITION @target@.%I FOR VALUES FROM (%L) TO (%L)',
            v_month, v_start, (v_start AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
    END IF;

    WITH sample AS (
        SELECT x.series_id, x.time, x.value, x.exact, x.value = 'NaN' AS is_nan,
            date_bin('1 hour', x.time, p_day) AS hour
        FROM @target@.samples_between(p_day, p_day + interval '24 hours') AS x
        WHERE x.series_id = ANY (p_series)
    ), hour AS MATERIALIZED (
        SELECT s.series_id, s.hour,
            count(*) FILTER (WHERE NOT s.is_nan)::int AS samples,
            count(*) FILTER (WHERE s.is_nan)::int AS nans,
            count(*) FILTER (WHERE s.exact IS NOT NULL AND NOT s.is_nan OR s.value = 0
                AND float8send(s.value) <> '\x0000000000000000') AS odd,
            sum(s.value::text::numeric) FILTER (WHERE abs(s.value) < 'Infinity') AS sum,
            min(s.value) FILTER (WHERE NOT s.is_nan) AS min,
            max(s.value) FILTER (WHERE NOT s.is_nan) AS max,
            array_agg(s.value ORDER BY s.time) FILTER (WHERE NOT s.is_nan) AS "values",
            (1000000 * extract(epoch FROM min(s.time) FILTER (WHERE NOT s.is_nan) - s.hour)
                - 1800000000)::int AS first_us,
            (1000000 * extract(epoch FROM max(s.time) FILTER (WHERE NOT s.is_nan) - s.hour)
                - 1800000000)::int AS last_us,
            count(*) FILTER (WHERE s.value < s.before)::int AS resets,
            coalesce(sum(s.before::text::numeric) FILTER (WHERE s.value < s.before), 0) AS lost
        FROM (
            SELECT sample.*, lag(value) OVER (
                PARTITION BY series_id, hour, is_nan ORDER BY time) AS before
            FROM sample
        ) AS s
        GROUP BY s.series_id, s.hour
    ), day AS (
        -- A row of few samples would be larger than these. Exact values are rare, and so is -0, of
        -- which nobody knows whether it is less than 0.
        SELECT h.series_id
        FROM hour AS h
        GROUP BY 1
        HAVING sum(h.samples) >= p_least AND sum(h.odd) = 0
    ), made AS (
        INSERT INTO @target@.series_hours (series_id, day, samples, sum, min, max, first, last,
            first_us, last_us, lost, resets, nans)
        SELECT a.series_id, p_day, internal.shortened(a.samples), internal.shortened(a.sum),
            CASE WHEN array_send(a.min) <> array_send(a.first) THEN internal.shortened(a.min) END,
            CASE WHEN array_send(a.max) <> array_send(a.last) THEN internal.shortened(a.max) END,
            internal.shortened(a.first), internal.shortened(a.last),
            internal.shortened(a.first_us), internal.shortened(a.last_us),
            internal.shortened(a.lost), internal.shortened(a.resets), internal.shortened(a.nans)
        FROM (
            SELECT d.series_id,
                array_agg(coalesce(h.samples, 0) ORDER BY n.hour) AS samples,
                array_agg(coalesce(h.sum, 0) ORDER BY n.hour) AS sum,
                array_agg(h.min ORDER BY n.hour) AS min,
                array_agg(h.max ORDER BY n.hour) AS max,
                array_agg(h.values[1] ORDER BY n.hour) AS first,
                array_agg(h.values[h.samples] ORDER BY n.hour) AS last,
                array_agg(h.first_us ORDER BY n.hour) AS first_us,
                array_agg(h.last_us ORDER BY n.hour) AS last_us,
                array_agg(coalesce(h.lost, 0) ORDER BY n.hour) AS lost,
                array_agg(coalesce(h.resets, 0) ORDER BY n.hour) AS resets,
                array_agg(coalesce(h.nans, 0) ORDER BY n.hour) AS nans
            FROM day AS d
            CROSS JOIN generate_series(p_day, p_day + interval '23 hours', interval '1 hour')
                AS n (hour)
            LEFT JOIN hour AS h ON (h.series_id, h.hour) = (d.series_id, n.hour)
            WHERE NOT EXISTS (
                SELECT FROM internal.hours_todo AS o
                WHERE (o.series_id, o.day) = (d.series_id, p_day))
            GROUP BY d.series_id
        ) AS a
        ON CONFLICT DO NOTHING
    )
    SELECT coalesce(sum(h.samples + h.nans), 0) INTO v_done FROM hour AS h;
    RETURN v_done;
END
$function$;
COMMENT ON FUNCTION @target@.store_hours IS
    'Makes the hours of one day, of series that have none yet and p_least samples or more; returns how many samples were read';

CREATE OR REPLACE FUNCTION @target@.first_unmade_day()
RETURNS timestamptz
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT greatest(
        date_bin('24 hours', t.dropped_before + interval '24 hours' - interval '1 microsecond', @origin@),
        CASE WHEN isfinite(h.made_before) THEN h.made_before
            ELSE date_bin('24 hours', internal.raw_start('@target@'), @origin@) END)
    FROM internal.target AS t
    JOIN internal.hours_state AS h USING (target)
    WHERE t.target = '@target@'
$function$;
COMMENT ON FUNCTION @target@.first_unmade_day IS
    'The first day whose hours have never been made; not finite, or null, if there are no samples';

CREATE OR REPLACE FUNCTION @target@.hours_behind(
    p_before timestamptz DEFAULT now() - interval '1 hour'
)
RETURNS float8
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(greatest(0,
        (
            SELECT extract(epoch FROM now() - d - interval '25 hours')
            FROM @target@.first_unmade_day() AS d
            WHERE isfinite(d) AND d < date_bin('24 hours', @settled_before@, @origin@)
                AND internal.raw_start('@target@') < date_bin('24 hours', @settled_before@, @origin@)
        ),
        (
            SELECT extract(epoch FROM now() - min(o.since) - interval '10 minutes')
            FROM internal.hours_todo AS o WHERE o.target = '@target@'
        )), 0)::float8
$function$;
COMMENT ON FUNCTION @target@.hours_behind IS
    'How many seconds ago the oldest hours could have been made that are not, of days that are over, and packed where samples are, or made again after late samples; 0: none wait';

CREATE OR REPLACE FUNCTION @target@.mark_hours_between(p_from timestamptz, p_to timestamptz)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $function$
DECLARE
    v_lo     timestamptz;
    v_hi     timestamptz;
    v_marked bigint;
BEGIN
    -- Where samples are gone what was made of them stays, and what has not been made yet will be.
    SELECT greatest(date_bin('24 hours', p_from, @origin@), date_bin('24 hours',
            t.dropped_before + interval '24 hours' - interval '1 microsecond', @origin@)),
        least(p_to, h.marked_before)
    INTO v_lo, v_hi
    FROM internal.target AS t
    JOIN internal.hours_state AS h USING (target)
    WHERE t.target = '@target@';
    INSERT INTO internal.hours_mark (target, series_id, day)
    SELECT '@target@', h.series_id, h.day FROM @target@.series_hours AS h
    WHERE h.day >= v_lo AND h.day < v_hi
    UNION
    SELECT '@target@', x.series_id, date_bin('24 hours', x.time, @origin@)
    FROM @target@.samples_between(v_lo, v_hi) AS x;
    GET DIAGNOSTICS v_marked = ROW_COUNT;
    RETURN v_marked;
END
$function$;
COMMENT ON FUNCTION @target@.mark_hours_between IS
    'Marks the days that a period touches, of all series that have hours or samples there, so that their hours are made again; returns how many days of series';

CREATE OR REPLACE FUNCTION @target@.make_hours(
    p_before timestamptz DEFAULT now() - interval '1 hour', p_quiet interval DEFAULT '10 minutes',
    p_least int DEFAULT 720, p_long interval DEFAULT '1 second'
)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_at     internal.hours_state;
    v_start  timestamptz;
    v_day    timestamptz;
    v_until  timestamptz := clock_timestamp() + p_long;
    v_series bigint[];
    v_forgot bigint;
    v_done   bigint;
BEGIN
    SELECT * INTO v_at FROM internal.hours_state WHERE target = '@target@' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    -- Where a fleet is always a day behind marks come all the time: nothing waits until none do.
    v_forgot := @target@.forget_hours();

    -- Each step is a transaction: who is there is looked for when the announcement is committed, and
    -- what they wrote is read by a snapshot that was taken when they were over.
    IF v_at.is_known IS FALSE THEN
        IF v_at.waits_for && ARRAY(SELECT id FROM internal.transactions_under_way()) THEN
            RETURN v_forgot;
        END IF;
        UPDATE internal.hours_state
        SET is_known = v_at.waits_for IS NOT NULL,
            waits_for = CASE WHEN v_at.waits_for IS NULL
                THEN ARRAY(SELECT id FROM internal.transactions_under_way()) END
        WHERE target = '@target@';
        RETURN 1;
    END IF;

    v_start := @target@.first_unmade_day();
    v_done := 0;
    SELECT o.day INTO v_day FROM internal.hours_todo AS o
    WHERE o.target = '@target@' AND o.is_announced ORDER BY o.day LIMIT 1;
    IF FOUND THEN
        LOOP
            v_series := ARRAY(
                SELECT o.series_id FROM internal.hours_todo AS o
                WHERE o.target = '@target@' AND o.is_announced AND o.day = v_day
                ORDER BY 1 LIMIT 200);
            EXIT WHEN v_series = '{}';
            DELETE FROM internal.hours_todo
            WHERE day = v_day AND series_id = ANY (v_series);
            v_done := v_done + @target@.store_hours(v_day, v_series, p_least);
            EXIT WHEN clock_timestamp() > v_until;
        END LOOP;
        RETURN greatest(v_done, 1);
    END IF;

    IF isfinite(v_start) AND v_start < v_at.marked_before THEN
        v_at.made_series := CASE WHEN v_start = v_at.made_before THEN v_at.made_series ELSE 0 END;
        v_at.made_before := v_start;
        LOOP
            v_series := ARRAY(
                SELECT s.series_id FROM internal.series AS s
                WHERE s.series_id > v_at.made_series AND s.target = '@target@'
                    AND EXISTS (SELECT FROM @target@.samples_between(
                        v_at.made_before, v_at.made_before + interval '24 hours'))
                ORDER BY 1 LIMIT 200);
            IF v_series = '{}' THEN
                v_at.made_before := v_at.made_before + interval '24 hours';
                v_at.made_series := 0;
            ELSE
                v_at.made_series := v_series[cardinality(v_series)];
                v_done := v_done + @target@.store_hours(v_at.made_before, v_series, p_least);
            END IF;
            EXIT WHEN clock_timestamp() > v_until OR v_at.made_before >= v_at.marked_before;
        END LOOP;
        UPDATE internal.hours_state
        SET made_before = v_at.made_before, made_series = v_at.made_series
        WHERE target = '@target@';
        RETURN greatest(v_done, 1);
    END IF;

    -- What is to be made next is announced.
    v_start := date_bin('24 hours', @settled_before@, @origin@);
    UPDATE internal.hours_todo AS o SET is_announced = true
    WHERE (o.series_id, o.day) IN (
        SELECT n.series_id, n.day FROM internal.hours_todo AS n
        WHERE n.target = '@target@' AND n.since <= now() - p_quiet
        ORDER BY n.day, n.series_id LIMIT 20000);
    GET DIAGNOSTICS v_done = ROW_COUNT;
    IF v_done > 0 OR v_start > v_at.marked_before AND internal.raw_start('@target@') < v_start THEN
        UPDATE internal.hours_state
        SET marked_before = greatest(marked_before, v_start), is_known = false
        WHERE target = '@target@';
        RETURN greatest(v_done, 1);
    END IF;
    RETURN v_forgot;
END
$function$;
COMMENT ON FUNCTION @target@.make_hours IS
    'One step of making hours of series, of days that ended before p_before, and again of those that late samples came for once none have for p_quiet, for about p_long; returns how much that was, 0 when there is nothing to do or others are waited for';

CREATE OR REPLACE FUNCTION @target@.drop_expired_hours()
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '200ms'
AS $function$
DECLARE
    v_month text;
BEGIN
    SELECT c.relname INTO v_month
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = '@target@.series_hours'::regclass
        AND (to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month') AT TIME ZONE 'UTC'
            <= internal.hours_from('@target@')
    ORDER BY 1
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    EXECUTE format('DROP TABLE @target@.%I', v_month);
    RETURN 1;
END
$function$;
COMMENT ON FUNCTION @target@.drop_expired_hours IS
    'Drops a month of hours of series that is past their retention; returns how many, 1 or 0. An error 55P03 says: readers hold it, try later';
