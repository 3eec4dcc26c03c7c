-- A piece of samples.sql: samples that are in blocks, of regular steps and of others. A part for each:
-- what puts two of them together would be asked for every sample.

UNION ALL
SELECT @regular@@more@
FROM @target@.block AS x @join@
CROSS JOIN LATERAL (@places@) AS s
WHERE x.step_ms IS NOT NULL AND @blocks@
UNION ALL
SELECT v.time, x.series_id, v.value, v.exact@more@
FROM @target@.block AS x @join@
CROSS JOIN LATERAL (@irregular@) AS v
WHERE x.step_ms IS NULL AND @blocks@
UNION ALL
SELECT @regular@@more@
FROM @target@.long_block AS x @join@
CROSS JOIN LATERAL (@places@) AS s
WHERE x.step_ms IS NOT NULL AND @long_blocks@
UNION ALL
SELECT v.time, x.series_id, v.value, v.exact@more@
FROM @target@.long_block AS x @join@
CROSS JOIN LATERAL (@irregular@) AS v
WHERE x.step_ms IS NULL AND @long_blocks@
