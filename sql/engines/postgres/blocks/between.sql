-- For each row of internal.blocks_form: blocks of regular steps as they are, for who can use arrays.

CREATE OR REPLACE FUNCTION @target@.blocks_between(p_from timestamptz, p_to timestamptz)
RETURNS TABLE (
    series_id bigint, first_time timestamptz, step_ms int, lo int, hi int, value float8[]
)
LANGUAGE sql STABLE AS $function$
    SELECT x.series_id, x.first_time, x.step_ms, s.lo, s.hi, x.value
    FROM @target@.block AS x CROSS JOIN LATERAL (@places@) AS s
    WHERE @blocks@ AND x.step_ms IS NOT NULL AND s.lo <= s.hi
    UNION ALL
    SELECT x.series_id, x.first_time, x.step_ms, s.lo, s.hi, x.value
    FROM @target@.long_block AS x CROSS JOIN LATERAL (@places@) AS s
    WHERE @long_blocks@ AND x.step_ms IS NOT NULL AND s.lo <= s.hi
$function$;
COMMENT ON FUNCTION @target@.blocks_between IS
    'Blocks of regular steps that have samples with p_from <= time < p_to: those are the elements lo to hi. All other samples are in rows_between';
COMMENT ON FUNCTION @target@.rows_between IS
    'Samples with p_from <= time < p_to that blocks_between has not';
