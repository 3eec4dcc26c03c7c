-- Engine postgres: whether the worker has still not taken a mark that `rollup_next` found.
-- $1: the target; $2 and $3: the mark's place and version.
SELECT EXISTS (
    SELECT FROM (
        SELECT ctid, xmin, 'internal' AS target FROM internal.rollup_mark
        UNION ALL
        SELECT ctid, xmin, 'cumsum' FROM cumsum.rollup_mark
    ) AS mark
    WHERE mark.target = $1 AND mark.ctid = $2::text::tid AND mark.xmin::text = $3
) AS waits
