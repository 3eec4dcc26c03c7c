-- Engine postgres: the mark that the worker takes next of those that $2 seconds have passed over.
-- $1: the target.
SELECT mark.ctid::text AS place, mark.xmin::text AS version
FROM (
    SELECT ctid, xmin, hour, minute, 'internal' AS target FROM internal.rollup_mark
    UNION ALL
    SELECT ctid, xmin, hour, minute, 'cumsum' FROM cumsum.rollup_mark
) AS mark
WHERE mark.target = $1
    AND coalesce(mark.minute, mark.hour + interval '59 minutes')
        < now() - interval '1 minute' - make_interval(secs => $2)
ORDER BY mark.hour DESC
LIMIT 1
