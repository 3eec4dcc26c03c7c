-- Native histograms of a period. On this engine it is no more than a filter, which reaches the chunks.

CREATE OR REPLACE FUNCTION internal.histograms_between(p_from timestamptz, p_to timestamptz)
RETURNS SETOF internal.histogram
LANGUAGE sql STABLE
AS $function$
    SELECT * FROM internal.histogram WHERE time >= p_from AND time < p_to
$function$;
COMMENT ON FUNCTION internal.histograms_between IS
    'Native histograms with p_from <= time < p_to; the planner sees through it';

CREATE OR REPLACE FUNCTION internal.newest_histograms(
    p_series bigint[], p_from timestamptz, p_to timestamptz
)
RETURNS SETOF internal.histogram
LANGUAGE sql STABLE
AS $function$
    SELECT newest.*
    FROM unnest(p_series) AS s (series_id)
    CROSS JOIN LATERAL (
        SELECT h.* FROM internal.histogram AS h
        WHERE h.series_id = s.series_id AND h.time >= p_from AND h.time < p_to
            AND NOT h.is_stale AND h.count < 'Infinity'
        ORDER BY h.time DESC LIMIT 1
    ) AS newest
$function$;
COMMENT ON FUNCTION internal.newest_histograms IS
    'Of each of these series the newest native histogram with p_from <= time < p_to that is no stale marker, and whose count is a finite number';
