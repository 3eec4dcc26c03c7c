-- For each row of internal.samples_form: every sample, as views, and as functions of the period that is
-- wanted. They are one query.
--
--   hot         rows from packed_before on
--   late        rows that came after their time was closed
--   block       rows before packed_before, taken out of arrays: of those that reach into the period
--   long_block  only the elements that are in it
--
-- A snapshot sees packed_before as it sees the blocks that came with it, and so each sample once.
--
-- What is read beside a sample, its series, is joined to each part by itself: the planner does not look
-- up in an index what a UNION has put together, and would take apart the blocks of all series.

@head@
SELECT x.time, x.series_id, x.value, x.exact@more@
FROM @target@.hot AS x @join@
WHERE x.time >= @lo@ AND x.time < @hi@
    AND x.time >= (SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
UNION ALL
SELECT x.time, x.series_id, x.value, x.exact@more@
FROM @target@.late AS x @join@
WHERE x.time >= @lo@ AND x.time < @hi@
@from_blocks@
@tail@;
