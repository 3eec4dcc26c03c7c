-- Engine postgres: days were stored by the clock of the worker's time zone. Where that changed
-- within a day in UTC, its last hour was left out, or the day was not stored at all.
--
-- Hours were always right, and stay for ever: days are computed from them anew, also where raw
-- samples are gone. Days with marks in them are not read before the worker comes to them.

-- A worker of the version before may run until the functions of this one are there.
DO $worker$
DECLARE
    v_target text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        IF to_regprocedure(format('%I.store_1d(timestamptz[])', v_target)) IS NOT NULL THEN
            EXECUTE format(
                'ALTER FUNCTION %I.store_1d(timestamptz[]) SET timezone = ''UTC''', v_target);
        END IF;
    END LOOP;
END
$worker$;

DO $days$
DECLARE
    v_target text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        -- As a worker does: none stores meanwhile what it has read before.
        PERFORM FROM internal.target WHERE target = v_target FOR NO KEY UPDATE;
        EXECUTE replace($store$
            INSERT INTO @target@.stored_1d AS old
            SELECT metric_id, date_bin('24 hours', bucket, '2000-01-03 00:00+00'),
                sum(samples)::bigint, sum(sum), min(min), max(max), max(last_key),
                max(exact_max), max(exact_last_key)
            FROM @target@.stored_1h
            GROUP BY 1, 2
            ON CONFLICT (metric_id, bucket) DO UPDATE SET
                (samples, sum, min, max, last_key, exact_max, exact_last_key)
                = (excluded.samples, excluded.sum, excluded.min, excluded.max, excluded.last_key,
                   excluded.exact_max, excluded.exact_last_key)
            WHERE old.samples <> excluded.samples
        $store$, '@target@', v_target);
    END LOOP;
END
$days$;
