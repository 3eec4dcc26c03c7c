-- Once, filled in: native histograms become blocks. As minutes are, they are moved by DELETE and INSERT in
-- one statement, so every snapshot has each of them once, and a crash leaves what was there.
--
-- A block is a run of neighbours of one series, within six hours (from 00:00, 06:00, … UTC), that have the
-- same buckets and all else that seldom changes; one that has no like, and one of odd arrays, is a block
-- by itself. Late ones are rows beside the blocks. When their partition has come to rest, they and the
-- blocks of the same series and six hours are made blocks again: so no two blocks of a series overlap.
--
-- Whoever writes late ones holds a lock (staging/late_histograms.sql) that the packer takes alone: they
-- are looked up in the blocks, and would be in neither while they are moved. What is newer is not
-- packed, and needs no lock.
--
-- A partition from which all is packed is dropped as those of samples are, see retire.sql: emptied by
-- DELETE, it would keep its pages.

CREATE OR REPLACE FUNCTION internal.pack_histograms(
    p_most int DEFAULT 2000, p_before timestamptz DEFAULT now() - interval '1 hour',
    p_quiet interval DEFAULT '10 minutes'
)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET max_parallel_workers_per_gather = 0
SET lock_timeout = '100ms'
SET enable_seqscan = off
SET jit = off
AS $function$
DECLARE
    v_part record;
    v_at   internal.histogram_packing;
    v_stop timestamptz;
    v_rows bigint;
    v_from timestamptz;
    v_to   timestamptz;
    v_last bigint;
    v_had  bigint;
    v_done bigint;
    v_some boolean;  -- rows are left in a partition that is over; else null
BEGIN
    IF NOT internal.packs()
        OR NOT pg_try_advisory_xact_lock(hashtextextended('promgres.pack_histograms', 0))
    THEN
        RETURN 0;
    END IF;
    DELETE FROM internal.histogram_packing AS k
    WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = k.part);
    FOR v_part IN
        SELECT p.name, p.bounds, to_regclass(format('internal.%I', p.name))::oid AS id
        FROM internal.partitions_of('histogram') AS p
        WHERE lower(p.bounds) + interval '6 hours' <= p_before
        ORDER BY p.bounds
    LOOP
        CONTINUE WHEN v_part.id IS NULL;  -- retention has just dropped it
        INSERT INTO internal.histogram_packing (part, packed_before)
        VALUES (v_part.id, lower(v_part.bounds)) ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT v_at FROM internal.histogram_packing WHERE part = v_part.id;
        v_rows := pg_stat_get_tuples_inserted(v_part.id);
        v_stop := CASE WHEN upper(v_part.bounds) <= p_before THEN upper(v_part.bounds)
            ELSE date_bin('6 hours', p_before, @origin@) END;
        CONTINUE WHEN v_at.packed_before >= v_stop
            AND (v_stop < upper(v_part.bounds) OR v_at.packed_rows = v_rows);
        -- A partition that is over waits until nobody has filled it for a while, or for six hours: what
        -- is late, a backfill, is packed together.
        IF v_stop = upper(v_part.bounds) THEN
            IF v_at.rows IS DISTINCT FROM v_rows THEN
                UPDATE internal.histogram_packing
                SET rows = v_rows, since = now(), waits_since = coalesce(waits_since, now())
                WHERE part = v_part.id RETURNING * INTO v_at;
            END IF;
            CONTINUE WHEN now() < v_at.since + p_quiet
                AND now() < v_at.waits_since + interval '6 hours';
        END IF;
        v_from := CASE WHEN v_at.packed_before < v_stop THEN v_at.packed_before
            ELSE lower(v_part.bounds) END;
        EXIT;
    END LOOP;
    IF v_from IS NULL THEN
        RETURN 0;
    END IF;

    v_to := v_from + interval '6 hours';
    WHILE v_to < v_stop AND NOT EXISTS (
        SELECT FROM internal.histogram_row AS h WHERE h.time >= v_from AND h.time < v_to
    ) LOOP
        v_from := v_to;
        v_to := v_from + interval '6 hours';
        v_at.packed_series := NULL;
    END LOOP;

    -- Series with p_most histograms, those in blocks that are made again included.
    SELECT s.series_id INTO v_last
    FROM (
        SELECT r.series_id, sum(r.count + b.count) OVER (ORDER BY r.series_id) AS histograms
        FROM (
            SELECT o.series_id, count(*)
            FROM (
                SELECT h.series_id FROM internal.histogram_row AS h
                WHERE h.time >= v_from AND h.time < v_to
                    AND (v_at.packed_series IS NULL OR h.series_id > v_at.packed_series)
                ORDER BY h.series_id LIMIT p_most
            ) AS o
            GROUP BY 1
        ) AS r
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(x.histograms), 0) AS count
            FROM internal.histogram_block AS x
            WHERE x.series_id = r.series_id AND x.first_time >= v_from AND x.first_time < v_to
        ) AS b
    ) AS s
    WHERE s.histograms >= p_most
    ORDER BY s.series_id LIMIT 1;

    -- A statement of its own, so that the next one sees what was written meanwhile.
    PERFORM pg_advisory_xact_lock(hashtextextended('promgres.late_histograms', 0));
    WITH came AS (
        DELETE FROM internal.histogram_row AS h
        WHERE h.time >= v_from AND h.time < v_to
            AND (v_at.packed_series IS NULL OR h.series_id > v_at.packed_series)
            AND (v_last IS NULL OR h.series_id <= v_last)
        RETURNING h.*
    ), gone AS (
        DELETE FROM internal.histogram_block AS x
        USING (SELECT DISTINCT series_id FROM came) AS c
        WHERE x.series_id = c.series_id AND x.first_time >= v_from AND x.first_time < v_to
        RETURNING x.*
    ), histogram AS MATERIALIZED (
        SELECT * FROM came
        UNION ALL
        SELECT @histogram_columns@
        FROM (SELECT *, 1 AS lo, histograms AS hi FROM gone) AS b @histogram_elements@
    ), shape AS (
        -- Arrays as senders make them, of which a part is found again by its place.
        SELECT *, exact_counts IS NULL
            AND (positive_counts = '{}' OR array_ndims(positive_counts) = 1
                AND array_lower(positive_counts, 1) = 1)
            AND (negative_counts = '{}' OR array_ndims(negative_counts) = 1
                AND array_lower(negative_counts, 1) = 1)
            AND cardinality(positive_counts) = cardinality(positive_indexes)
            AND cardinality(negative_counts) = cardinality(negative_indexes) AS is_plain
        FROM histogram
    ), neighbour AS (
        -- Bits are compared: -0 is not 0.
        SELECT *, NOT is_plain OR (
                schema, is_float, is_stale, reset_hint, start_time, float8send(zero_threshold),
                array_send(custom_bounds), positive_indexes, negative_indexes,
                count < 'Infinity', is_plain
            ) IS DISTINCT FROM (
                lag(schema) OVER w, lag(is_float) OVER w, lag(is_stale) OVER w,
                lag(reset_hint) OVER w, lag(start_time) OVER w,
                float8send(lag(zero_threshold) OVER w), array_send(lag(custom_bounds) OVER w),
                lag(positive_indexes) OVER w, lag(negative_indexes) OVER w,
                lag(count) OVER w < 'Infinity', lag(is_plain) OVER w
            ) AS begins
        FROM shape
        WINDOW w AS (PARTITION BY series_id ORDER BY time)
    ), run AS (
        SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY series_id ORDER BY time) AS run
        FROM neighbour
    ), place AS (
        -- 60,000 numbers are 480 kB: who wants a part of it unpacks all.
        SELECT *, (row_number() OVER (PARTITION BY series_id, run ORDER BY time) - 1) / greatest(
            1, 60000 / (4 + cardinality(positive_counts) + cardinality(negative_counts))
        ) AS piece
        FROM run
    ), step AS (
        SELECT *, time - lag(time) OVER (PARTITION BY series_id, run, piece ORDER BY time) AS step
        FROM place
    ), block AS (
        SELECT series_id, min(time) AS first_time, max(time) AS last_time,
            count(*)::int AS histograms,
            CASE WHEN count(*) = 1 THEN 1 WHEN min(step) = max(step)
                THEN (1000000 * extract(epoch FROM min(step)))::bigint END AS step_us,
            array_agg(time ORDER BY time) AS times, min(schema) AS schema,
            bool_or(is_float) AS is_float, bool_or(is_stale) AS is_stale,
            min(zero_threshold) AS zero_threshold, min(reset_hint) AS reset_hint,
            min(start_time) AS start_time, min(custom_bounds) AS custom_bounds,
            min(positive_indexes) AS positive_indexes, min(negative_indexes) AS negative_indexes,
            array_agg(count ORDER BY time) AS counts, array_agg(sum ORDER BY time) AS sums,
            array_agg(zero_count ORDER BY time) AS zero_counts,
            min(positive_counts) AS one_positive, min(negative_counts) AS one_negative,
            array_agg(positive_counts ORDER BY time)
                FILTER (WHERE is_plain AND positive_counts <> '{}') AS positive_counts,
            array_agg(negative_counts ORDER BY time)
                FILTER (WHERE is_plain AND negative_counts <> '{}') AS negative_counts,
            min(exact_counts) AS exact_counts
        FROM step
        GROUP BY series_id, run, piece
    ), made AS (
        INSERT INTO internal.histogram_block
        SELECT series_id, first_time, last_time, histograms, step_us,
            CASE WHEN step_us IS NULL THEN times END, schema, is_float, is_stale, zero_threshold,
            reset_hint, start_time, custom_bounds, positive_indexes, negative_indexes, counts,
            sums, zero_counts,
            CASE WHEN histograms = 1 THEN one_positive
                ELSE ARRAY(SELECT unnest(positive_counts)) END,
            CASE WHEN histograms = 1 THEN one_negative
                ELSE ARRAY(SELECT unnest(negative_counts)) END,
            exact_counts
        FROM block
        RETURNING histograms
    )
    SELECT (SELECT count(*) FROM histogram), (SELECT coalesce(sum(histograms), 0) FROM made)
    INTO v_had, v_done;
    IF v_had <> v_done THEN
        RAISE EXCEPTION '% histograms were packed, and % are in blocks', v_had, v_done
            USING ERRCODE = 'data_corrupted';
    END IF;
    -- Who drops a partition knows by this row since when nobody takes rows out of it.
    UPDATE internal.retired SET rounds = 0, waits_for = NULL
    WHERE v_done > 0 AND (target, name) = ('internal', v_part.name);

    IF v_last IS NULL AND v_to >= upper(v_part.bounds) THEN
        v_some := EXISTS (
            SELECT FROM internal.histogram_row AS h
            WHERE h.time >= lower(v_part.bounds) AND h.time < upper(v_part.bounds));
        INSERT INTO internal.retired (target, name)
        SELECT 'internal', v_part.name WHERE NOT v_some
        ON CONFLICT DO NOTHING;
    END IF;
    -- What came late for six hours that are done is packed when all the others are.
    UPDATE internal.histogram_packing
    SET packed_before = CASE WHEN v_last IS NULL THEN v_to ELSE v_from END, packed_series = v_last,
        packed_rows = CASE WHEN NOT v_some THEN v_rows END,
        waits_since = CASE WHEN v_some IS NULL THEN waits_since END
    WHERE part = v_part.id;
    RETURN greatest(v_done, 1);
END
$function$;
COMMENT ON FUNCTION internal.pack_histograms IS
    'Packs about p_most native histograms of the oldest six hours that ended before p_before, of partitions that are over once nobody has filled them for p_quiet; returns how many, 0 when there is nothing to do or another one is at it. An error 55P03 says: writers of late ones were at it, try later';

CREATE OR REPLACE FUNCTION internal.histograms_behind()
RETURNS float8
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    -- What somebody still fills could be packed when it has waited for six hours.
    SELECT CASE WHEN internal.packs() THEN greatest(0, extract(epoch FROM now() - min(
        greatest(p.next + interval '7 hours', p.waits_since + interval '6 hours')))) ELSE 0 END
    FROM (
        SELECT coalesce(k.packed_before, lower(p.bounds)) AS next, upper(p.bounds) AS ends,
            k.waits_since
        FROM internal.partitions_of('histogram') AS p
        LEFT JOIN internal.histogram_packing AS k
            ON k.part = to_regclass(format('internal.%I', p.name))::oid
    ) AS p
    WHERE p.next < p.ends AND p.next + interval '7 hours' <= now()
$function$;
COMMENT ON FUNCTION internal.histograms_behind IS
    'How many seconds ago the oldest native histograms could have been packed that have never been; 0: none wait';

CREATE OR REPLACE FUNCTION internal.drop_expired_histograms(p_limit int DEFAULT 1000)
RETURNS int
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH dropped AS (
        DELETE FROM internal.histogram_block
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM internal.histogram_block
            WHERE last_time < date_bin('24 hours',
                now() - make_interval(hours => 24 * internal.store_days('histogram')), @origin@)
            LIMIT p_limit
        ))
        RETURNING 1
    )
    SELECT count(*)::int FROM dropped
$function$;
COMMENT ON FUNCTION internal.drop_expired_histograms IS
    'Deletes up to p_limit blocks of histograms past the retention: of days, as partitions of rows are';
