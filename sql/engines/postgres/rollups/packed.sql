-- For each row of internal.rolled_up: minutes that are over, packed. A row of stored_1m takes 190 bytes
-- and lies beside other metrics' rows; three hours of a metric in one row take 1 to 25 bytes a minute, and
-- a day of it is eight rows.
--
--   stored_1m   rows: the newest minutes, those that late samples touched, and those of metrics that
--               have next to none in three hours
--   packed_1m   all others
--
-- A minute is in one of them. Moving is DELETE and INSERT in one transaction, and so every snapshot
-- sees it once. The worker of rollups unpacks what it touches, and packing is done by whoever would be
-- the worker (the lock on internal.target): neither sees a half of the other's work.

CREATE OR REPLACE FUNCTION @target@.unpacked_minutes(p_from timestamptz, p_to timestamptz)
RETURNS SETOF internal.stored_1m
LANGUAGE sql
STABLE
AS $function$
    SELECT @packed_columns@
    FROM @target@.packed_1m AS p
    CROSS JOIN LATERAL (
        SELECT ceil(extract(epoch FROM greatest(p.span, p_from) - p.span) / 60)::int + 1 AS lo,
            ceil(extract(epoch FROM least(p.span + interval '3 hours', p_to) - p.span) / 60)::int
                AS hi
        OFFSET 0
    ) AS s
    CROSS JOIN LATERAL ROWS FROM (
        generate_series(s.lo, s.hi), unnest(p.samples[s.lo:s.hi]), unnest(p.sum[s.lo:s.hi]),
        unnest(p.min[s.lo:s.hi]), unnest(p.max[s.lo:s.hi]), unnest(p.last[s.lo:s.hi]),
        unnest(p.last_us[s.lo:s.hi]), unnest(p.last_series[s.lo:s.hi]),
        unnest(p.exact_max[s.lo:s.hi]), unnest(p.exact_last[s.lo:s.hi]),
        unnest(p.exact_last_us[s.lo:s.hi]), unnest(p.exact_last_series[s.lo:s.hi])
    ) AS e (
        place, samples, sum, min, max, last, last_us, last_series, exact_max, exact_last,
        exact_last_us, exact_last_series)
    CROSS JOIN LATERAL (
        SELECT p.span + (e.place - 1) * interval '1 minute' AS bucket, e.*
    ) AS v
    WHERE p.span > p_from - interval '3 hours' AND p.span < p_to
        AND (p.samples IS NULL OR e.samples IS NOT NULL)
$function$;
COMMENT ON FUNCTION @target@.unpacked_minutes IS
    'Packed minutes with p_from <= bucket < p_to as rows; the planner sees through it';

CREATE OR REPLACE FUNCTION @target@.minutes_between(p_from timestamptz, p_to timestamptz)
RETURNS SETOF internal.stored_1m
LANGUAGE sql
STABLE
AS $function$
    SELECT * FROM @target@.stored_1m WHERE bucket >= p_from AND bucket < p_to
    UNION ALL
    SELECT * FROM @target@.unpacked_minutes(p_from, p_to)
$function$;
COMMENT ON FUNCTION @target@.minutes_between IS
    'Stored minutes with p_from <= bucket < p_to, packed or not; the planner sees through it';

CREATE OR REPLACE FUNCTION @target@.unpack_minutes(p_metrics int[], p_hours timestamptz[])
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $function$
DECLARE
    v_from timestamptz;
    v_to   timestamptz;
BEGIN
    SELECT date_bin('3 hours', min(hour), @origin@),
        date_bin('3 hours', max(hour), @origin@) + interval '3 hours'
    INTO v_from, v_to
    FROM unnest(p_hours) AS hour;
    -- Current minutes end here: nothing so new is packed.
    UPDATE internal.packed_minutes
    SET before = v_from, unpacked_from = CASE WHEN before = reached THEN now() ELSE unpacked_from END
    WHERE target = '@target@' AND before > v_from;
    IF NOT EXISTS (SELECT FROM @target@.packed_1m WHERE span >= v_from AND span < v_to) THEN
        RETURN;
    END IF;

    WITH touched AS (
        SELECT DISTINCT k.metric_id, date_bin('3 hours', k.hour, @origin@) AS span
        FROM unnest(p_metrics, p_hours) AS k (metric_id, hour)
    ), gone AS MATERIALIZED (
        DELETE FROM @target@.packed_1m AS p
        USING touched AS t
        WHERE p.span = t.span AND p.span >= v_from AND p.span < v_to
            AND (p_metrics IS NULL OR p.metric_id = t.metric_id)
            AND (p_metrics IS NULL OR p.metric_id = ANY (p_metrics))
        RETURNING p.metric_id, p.span
    )
    INSERT INTO @target@.stored_1m
    SELECT r.*
    FROM @target@.unpacked_minutes(v_from, v_to) AS r
    JOIN gone AS g ON g.metric_id = r.metric_id AND g.span = date_bin('3 hours', r.bucket, @origin@)
    WHERE p_metrics IS NULL OR r.metric_id = ANY (p_metrics);
END
$function$;
COMMENT ON FUNCTION @target@.unpack_minutes IS
    'Makes rows again of what is packed of these metrics (null is all) in the spans of these hours: who calls it is about to change them';

CREATE OR REPLACE FUNCTION @target@.pack_minutes(
    p_most int DEFAULT 500, p_before timestamptz DEFAULT now() - interval '1 hour',
    p_quiet interval DEFAULT '10 minutes'
)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_nestloop = off
SET jit = off  -- it compiles for four seconds what runs for milliseconds
AS $function$
DECLARE
    v_at      internal.packed_minutes;
    v_edge    timestamptz;
    v_from    timestamptz;
    v_to      timestamptz;
    v_metrics int[];
    v_done    bigint;
BEGIN
    IF NOT internal.packs() THEN
        RETURN 0;
    END IF;
    PERFORM FROM internal.target WHERE target = '@target@' FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT * INTO v_at FROM internal.packed_minutes WHERE target = '@target@';
    -- What has marks would soon be unpacked again. Where late samples keep coming, what has never been
    -- packed does not wait for them.
    FOREACH v_edge IN ARRAY ARRAY[v_at.before, v_at.reached] LOOP
        CONTINUE WHEN v_edge < v_at.reached AND now() < v_at.unpacked_from + p_quiet;
        SELECT date_bin('3 hours', min(r.bucket), @origin@) INTO v_from
        FROM @target@.stored_1m AS r WHERE r.bucket >= v_edge;
        v_to := v_from + interval '3 hours';
        IF v_from IS NULL OR v_to > p_before OR EXISTS (
            SELECT FROM @target@.rollup_mark WHERE hour >= v_from AND hour < v_to
        ) THEN
            v_from := NULL;
        END IF;
        EXIT WHEN v_from IS NOT NULL;
    END LOOP;
    IF v_from IS NULL THEN
        RETURN 0;
    END IF;

    -- Of three minutes a row of arrays takes as much as they do.
    v_metrics := ARRAY(
        SELECT r.metric_id FROM @target@.stored_1m AS r
        WHERE r.bucket >= v_from AND r.bucket < v_to
        GROUP BY 1 HAVING count(*) > 3
        ORDER BY 1 LIMIT p_most);
    IF v_metrics = '{}' THEN
        UPDATE internal.packed_minutes
        SET reached = greatest(reached, v_to),
            before = CASE WHEN v_edge = before THEN v_to ELSE before END
        WHERE target = '@target@';
        RETURN 1;
    END IF;
    INSERT INTO internal.minute (bucket, span, place)
    SELECT v_from + (place - 1) * interval '1 minute', v_from, place
    FROM generate_series(1, 180) AS place
    ON CONFLICT DO NOTHING;

    WITH gone AS (
        DELETE FROM @target@.stored_1m AS r
        WHERE r.bucket >= v_from AND r.bucket < v_to AND r.metric_id = ANY (v_metrics)
        RETURNING r.*
    ), minute AS MATERIALIZED (
        SELECT metric_id, extract(epoch FROM bucket - v_from)::int / 60 + 1 AS place,
            samples, coalesce(sum, 'NaN') AS sum, min, max, last_key[3] AS last,
            round((1000000 * (last_key[1] - date_part('epoch', bucket - @origin@)))::numeric)::int
                AS last_us,
            last_key[2]::bigint AS last_series, exact_max, exact_last_key[3] AS exact_last,
            (1000000 * (exact_last_key[1] - extract(epoch FROM bucket - @origin@)))::int
                AS exact_last_us,
            exact_last_key[2]::bigint AS exact_last_series
        FROM gone
    ), same AS (
        SELECT metric_id, min(samples) AS samples, min(sum) AS sum, min(max) AS max,
            min(last_us) AS last_us, min(last_series) AS last_series,
            count(*) < 180 OR min(samples) < max(samples) AS has_samples
        FROM minute GROUP BY 1
    ), element AS (
        -- Bits are compared, and digits: -0 is not 0, and 1.0 not 1.
        SELECT s.metric_id, place, m.samples,
            CASE WHEN (m.sum, scale(m.sum)) IS DISTINCT FROM (s.sum, scale(s.sum)) THEN m.sum END
                AS sum,
            CASE WHEN float8send(m.min) <> float8send(m.max) THEN m.min END AS min,
            CASE WHEN float8send(m.max) <> float8send(s.max) THEN m.max END AS max,
            CASE WHEN float8send(m.last) <> float8send(m.max) THEN m.last END AS last,
            nullif(m.last_us, s.last_us) AS last_us,
            nullif(m.last_series, s.last_series) AS last_series, m.exact_max, m.exact_last,
            nullif(m.exact_last_us, m.last_us) AS exact_last_us,
            nullif(m.exact_last_series, m.last_series) AS exact_last_series
        FROM same AS s
        CROSS JOIN generate_series(1, 180) AS place
        LEFT JOIN minute AS m USING (metric_id, place)
    ), made AS (
        INSERT INTO @target@.packed_1m
        SELECT metric_id, v_from, s.samples, s.sum, s.max, s.last_us, s.last_series,
            CASE WHEN s.has_samples THEN a.samples END, a.sum, a.min, a.max, a.last, a.last_us,
            a.last_series, a.exact_max, a.exact_last, a.exact_last_us, a.exact_last_series
        FROM same AS s
        JOIN (
            SELECT metric_id, array_agg(samples ORDER BY place) AS samples,
                CASE WHEN count(sum) > 0 THEN array_agg(sum ORDER BY place) END AS sum,
                CASE WHEN count(min) > 0 THEN array_agg(min ORDER BY place) END AS min,
                CASE WHEN count(max) > 0 THEN array_agg(max ORDER BY place) END AS max,
                CASE WHEN count(last) > 0 THEN array_agg(last ORDER BY place) END AS last,
                CASE WHEN count(last_us) > 0 THEN array_agg(last_us ORDER BY place) END AS last_us,
                CASE WHEN count(last_series) > 0 THEN array_agg(last_series ORDER BY place) END
                    AS last_series,
                CASE WHEN count(exact_max) > 0 THEN array_agg(exact_max ORDER BY place) END
                    AS exact_max,
                CASE WHEN count(exact_last) > 0 THEN array_agg(exact_last ORDER BY place) END
                    AS exact_last,
                CASE WHEN count(exact_last_us) > 0 THEN array_agg(exact_last_us ORDER BY place) END
                    AS exact_last_us,
                CASE WHEN count(exact_last_series) > 0
                    THEN array_agg(exact_last_series ORDER BY place) END AS exact_last_series
            FROM element GROUP BY 1
        ) AS a USING (metric_id)
        ORDER BY metric_id
    )
    SELECT count(*) INTO v_done FROM gone;
    RETURN v_done;
END
$function$;
COMMENT ON FUNCTION @target@.pack_minutes IS
    'Packs the oldest three hours that ended before p_before, p_most metrics of them at once, and again those that were unpacked since p_quiet ago; returns how many minutes, 0 when there is nothing to do, when samples of these hours wait for the worker, or when another worker is at it';

CREATE OR REPLACE FUNCTION @target@.minutes_behind()
RETURNS float8
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN internal.packs() THEN coalesce(greatest(0, extract(
        epoch FROM now() - date_bin('3 hours', min(bucket), @origin@) - interval '4 hours')), 0)
        ELSE 0 END
    FROM @target@.stored_1m
    WHERE bucket >= (SELECT reached FROM internal.packed_minutes WHERE target = '@target@')
$function$;
COMMENT ON FUNCTION @target@.minutes_behind IS
    'How many seconds ago the oldest minutes could have been packed that have never been; 0: none wait';
