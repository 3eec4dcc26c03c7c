-- For each row of internal.rolled_up: hours of series for readers, and samples where there are none.
--
--            edge of a bucket        edge of a bucket
--   ......|------|------|..^...|------|..^...    - hours from series_hours   . samples
--                                               (all of an hour's samples lie in one bucket)

CREATE OR REPLACE VIEW @target@.stored_hour AS
SELECT h.series_id, h.day + (n - 1) * interval '1 hour' AS hour, h.day,
    internal.of_hour(h.samples, n) AS samples, internal.of_hour(h.sum, n) AS sum,
    internal.of_hour(coalesce(h.min, h.first), n) AS min,
    internal.of_hour(coalesce(h.max, h.last), n) AS max,
    internal.of_hour(h.first, n) AS first,
    h.day + (n - 0.5) * interval '1 hour'
        + internal.of_hour(h.first_us, n) * interval '1 microsecond' AS first_time,
    internal.of_hour(h.last, n) AS last,
    h.day + (n - 0.5) * interval '1 hour'
        + internal.of_hour(h.last_us, n) * interval '1 microsecond' AS last_time,
    internal.of_hour(h.lost, n) AS lost, internal.of_hour(h.resets, n) AS resets,
    internal.of_hour(h.nans, n) AS nans
FROM @target@.series_hours AS h
CROSS JOIN generate_series(1, 24) AS n
WHERE h.day >= (SELECT internal.hours_from('@target@'))
    AND NOT EXISTS (
        SELECT FROM internal.hours_mark AS m WHERE (m.series_id, m.day) = (h.series_id, h.day));
COMMENT ON VIEW @target@.stored_hour IS
    'Hours of series that nothing has been stored for since they were made, a row an hour, also of those without samples';

CREATE OR REPLACE VIEW @target@.series_hour WITH (security_barrier) AS
SELECT h.series_id, s.tenant_id, s.schema, s.name, h.hour, h.samples, h.sum, h.min, h.max,
    h.first, h.first_time, h.last, h.last_time,
    CASE WHEN h.min > '-Infinity' AND h.max < 'Infinity' THEN
        h.last::text::numeric - h.first::text::numeric + h.lost END AS increase,
    h.resets, h.nans
FROM @target@.stored_hour AS h
JOIN internal.series AS s ON s.series_id = h.series_id
WHERE h.samples + h.nans > 0
    AND coalesce(s.tenant_id = (SELECT internal.reader_tenant_id()), true);
COMMENT ON VIEW @target@.series_hour IS
    'What each hour of a series has, of target @target@, NaN left out of all but nans: only hours of days that are over and were made (see docs/explanation/hours.md), others have to be read from samples. A reader sees its tenant''s';
GRANT SELECT ON @target@.series_hour TO sql_reader;

-- A unit is an hour, or a sample. p_kind says what hours are for:
--   values    samples, sum, min, max and last, of all that is no NaN
--   steps     what counters gained, in decimals: no infinities
--   floats    for PromQL, where NaN is a value
--   counters  the same, and resets are looked for between samples
CREATE OR REPLACE FUNCTION @target@.units(
    p_series bigint[], p_by_hour bigint[], p_edges timestamptz[],
    p_from timestamptz, p_to timestamptz, p_kind text
)
RETURNS TABLE (
    series_id bigint, first_time timestamptz, last_time timestamptz, samples int, sum numeric,
    min float8, max float8, exact numeric, first float8, last float8, lost numeric
)
LANGUAGE sql STABLE AS $function$
    WITH hour AS MATERIALIZED (
        SELECT h.*
        FROM @target@.stored_hour AS h
        WHERE h.series_id = ANY (p_by_hour)
            AND h.day > p_from - interval '24 hours' AND h.day < p_to
            AND h.hour > p_from - interval '1 hour' AND h.hour < p_to
            AND (h.nans = 0 OR p_kind IN ('values', 'steps'))
            AND (h.resets = 0 OR p_kind <> 'counters')
            AND (h.samples = 0
                OR h.first_time >= p_from AND h.last_time < p_to
                    AND width_bucket(h.first_time, p_edges) = width_bucket(h.last_time, p_edges)
                    AND (p_kind <> 'steps' OR h.min > '-Infinity' AND h.max < 'Infinity'))
    ), gap AS (
        SELECT h.series_id, lag(h.hour + interval '1 hour', 1, p_from) OVER of_series AS lo, h.hour AS hi
        FROM hour AS h
        WINDOW of_series AS (PARTITION BY h.series_id ORDER BY h.hour)
        UNION ALL
        SELECT s.series_id, coalesce(max(h.hour + interval '1 hour'), p_from), p_to
        FROM unnest(p_series) AS s (series_id)
        LEFT JOIN hour AS h ON h.series_id = s.series_id
        GROUP BY 1
    )
    SELECT h.series_id, h.first_time, h.last_time, h.samples, h.sum, h.min, h.max, NULL::numeric,
        h.first, h.last, h.lost
    FROM hour AS h
    WHERE h.samples > 0
    UNION ALL
    SELECT u.*
    FROM gap AS g
    CROSS JOIN LATERAL @target@.sample_units(g.lo, g.hi) AS u
    WHERE g.lo < g.hi AND u.series_id = g.series_id
        AND u.first_time >= p_from AND u.first_time < p_to
$function$;
COMMENT ON FUNCTION @target@.units IS
    'What series p_series have with p_from <= time < p_to, NaN too: of p_by_hour whole hours where none of p_edges cuts them (an edge belongs to what follows it), else samples';
