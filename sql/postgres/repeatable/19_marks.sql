-- Marks: which buckets have samples that their stored rollups do not know of yet.

CREATE OR REPLACE FUNCTION internal.mark_samples(
    p_target text, p_minutes timestamptz[], p_series bigint[]
)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_metrics int[];
BEGIN
    IF p_target = 'geo' THEN  -- has no rollups
        RETURN;
    END IF;
    IF cardinality(p_minutes) <= 60 THEN
        EXECUTE format($insert$
            INSERT INTO %I.rollup_mark (hour, minute)
            SELECT date_bin('1 hour', m, '2000-01-03 00:00+00'), m FROM unnest($1) AS m
        $insert$, p_target) USING p_minutes;
        RETURN;
    END IF;
    -- A backfill: few series over a long time. One mark an hour, and what it is about.
    SELECT array_agg(DISTINCT metric_id) INTO v_metrics FROM internal.series
    WHERE series_id = ANY (p_series);
    EXECUTE format($insert$
        INSERT INTO %I.rollup_mark (hour, metrics)
        SELECT DISTINCT date_bin('1 hour', m, '2000-01-03 00:00+00'),
            CASE WHEN cardinality($2) <= 100 THEN $2 END
        FROM unnest($1) AS m
    $insert$, p_target) USING p_minutes, v_metrics;
END
$function$;
COMMENT ON FUNCTION internal.mark_samples IS
    'Marks the minutes of samples written in this transaction; more than 60 are marked by the hour, for which p_series says whose they are';
