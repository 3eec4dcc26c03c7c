-- Engine postgres: buckets that have ended and whose rollups are not stored yet; readers compute
-- them from raw samples.
-- $1: seconds since the end of the minute.
SELECT target, count(*)::int AS marks,
    extract(epoch FROM now() - min(coalesce(minute, hour)))::float8 AS oldest
FROM (
    SELECT 'internal' AS target, hour, minute FROM internal.rollup_mark
    UNION ALL
    SELECT 'cumsum', hour, minute FROM cumsum.rollup_mark
) AS mark
WHERE coalesce(minute, hour + interval '59 minutes') < now() - interval '1 minute' - make_interval(secs => $1)
GROUP BY target
ORDER BY target
