-- For each row of internal.blocks_form: blocks as they are, for who can use arrays.

-- That of earlier versions had blocks of regular steps only.
DO $drop$
BEGIN
    IF (SELECT 'steps' <> ALL (proargnames) FROM pg_proc
        WHERE oid = to_regprocedure('@target@.blocks_between(timestamptz, timestamptz)'))
    THEN
        DROP FUNCTION @target@.blocks_between(timestamptz, timestamptz);
    END IF;
END
$drop$;

CREATE OR REPLACE FUNCTION @target@.blocks_between(p_from timestamptz, p_to timestamptz)
RETURNS TABLE (
    series_id bigint, first_time timestamptz, step_ms int, steps int[], lo int, hi int, count int,
    value float8[]
)
LANGUAGE sql STABLE AS $function$
    SELECT x.series_id, x.first_time, x.step_ms, x.steps, s.lo, s.hi, x.count, x.value
    FROM @target@.block AS x CROSS JOIN LATERAL (@all_places@) AS s
    WHERE @blocks@ AND s.lo <= s.hi
    UNION ALL
    SELECT x.series_id, x.first_time, x.step_ms, x.steps, s.lo, s.hi, x.count, x.value
    FROM @target@.long_block AS x CROSS JOIN LATERAL (@all_places@) AS s
    WHERE @long_blocks@ AND s.lo <= s.hi
$function$;
COMMENT ON FUNCTION @target@.blocks_between IS
    'Blocks that have samples with p_from <= time < p_to: those are the elements lo to hi. All other samples are in rows_between';
COMMENT ON FUNCTION @target@.rows_between IS
    'Samples with p_from <= time < p_to that are in no block';
