-- For each row of internal.samples_form: every sample, as the view {target}.sample, and as functions of
-- the period that is wanted. They are one query.
--
--   hot    rows from packed_before on      late    rows that came after their time was closed
--   block  rows before packed_before, taken out of arrays: of those that reach into the period
--          only the elements that are in it
--
-- A snapshot sees packed_before as it sees the blocks that came with it, and so each sample once.

@head@
SELECT h.time, h.series_id, h.value, h.exact
FROM @target@.hot AS h
WHERE h.time >= @lo@ AND h.time < @hi@
    AND h.time >= (SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@')
UNION ALL
SELECT l.time, l.series_id, l.value, l.exact
FROM @target@.late AS l
WHERE l.time >= @lo@ AND l.time < @hi@
UNION ALL
SELECT b.first_time + (s.lo + v.n - 2) * b.step_ms * interval '1 millisecond', b.series_id,
    v.value, v.exact
FROM (@blocks@) AS b
CROSS JOIN LATERAL (@places@) AS s
CROSS JOIN LATERAL unnest(b.value[s.lo:s.hi], b.exact[s.lo:s.hi])
    WITH ORDINALITY AS v (value, exact, n)
WHERE @regular@
UNION ALL
SELECT v.time, b.series_id, v.value, v.exact
FROM (@blocks@) AS b
CROSS JOIN LATERAL (
    SELECT b.first_time + sum(u.step) OVER (ORDER BY u.n) * interval '1 millisecond' AS time,
        u.value, u.exact
    FROM unnest(b.steps, b.value, b.exact) WITH ORDINALITY AS u (step, value, exact, n)
) AS v
WHERE b.step_ms IS NULL AND v.time >= @lo@ AND v.time < @hi@
@tail@;
