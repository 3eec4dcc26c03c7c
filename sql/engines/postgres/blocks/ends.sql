-- For each row of internal.ends_form: when a series begins, or ends.

CREATE OR REPLACE FUNCTION @target@.@which@_time(
    p_series bigint, p_from timestamptz, p_to timestamptz
)
RETURNS timestamptz
LANGUAGE sql STABLE AS $function$
    -- A step into an index each. Blocks are taken apart one after the other, until one has a number;
    -- longer ones may overlap each other, and are looked at as far as they reach beyond the others.
    SELECT @better@(n.time, (
        SELECT @best@(v.time)
        FROM @target@.long_block AS x
        CROSS JOIN LATERAL (
            SELECT @best@(w.time) AS time FROM (@elements@) AS w WHERE w.value <> 'NaN'
        ) AS v
        WHERE x.series_id = p_series AND @beyond@ AND @long_blocks@
    ))
    FROM (
        SELECT @better@(
            (SELECT x.time FROM @target@.hot AS x
                WHERE x.series_id = p_series AND x.time >= p_from AND x.time < p_to
                    AND x.value <> 'NaN'
                ORDER BY x.time @order@ LIMIT 1),
            (SELECT x.time FROM @target@.late AS x
                WHERE x.series_id = p_series AND x.time >= p_from AND x.time < p_to
                    AND x.value <> 'NaN'
                ORDER BY x.time @order@ LIMIT 1),
            (SELECT v.time
                FROM @target@.block AS x
                CROSS JOIN LATERAL (
                    SELECT @best@(w.time) AS time FROM (@elements@) AS w WHERE w.value <> 'NaN'
                ) AS v
                WHERE x.series_id = p_series AND v.time IS NOT NULL AND @blocks@
                ORDER BY x.first_time @order@ LIMIT 1)
        ) AS time OFFSET 0
    ) AS n
$function$;
COMMENT ON FUNCTION @target@.@which@_time IS
    'When a series has its @which@ sample with p_from <= time < p_to that is not NaN';
