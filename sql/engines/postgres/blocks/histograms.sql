-- Once, filled in: every native histogram, rows and blocks, as a view and as a function of a period.
-- What is packed is deleted by the statement that makes the block, so a snapshot sees each of them once.

CREATE OR REPLACE VIEW internal.histogram AS
SELECT * FROM internal.histogram_row
UNION ALL
SELECT @histogram_columns@
FROM (SELECT *, 1 AS lo, histograms AS hi FROM internal.histogram_block) AS b
@histogram_elements@;
COMMENT ON VIEW internal.histogram IS
    'Native histograms of series of any target, one row a series and time stamp. A condition on time alone reads all blocks: internal.histograms_between(from, to) reads a period. New ones go into staging_internal.histogram';
COMMENT ON COLUMN internal.histogram.schema IS
    'Resolution, -4 to 8: bucket i covers (2^((i-1)*2^-schema), 2^(i*2^-schema)]; -53: custom_bounds';
COMMENT ON COLUMN internal.histogram.is_stale IS 'A stale marker: the series ended, nothing is counted';
COMMENT ON COLUMN internal.histogram.count IS 'All observations so far, NaN ones too';
COMMENT ON COLUMN internal.histogram.zero_count IS
    'Observations from -zero_threshold to zero_threshold';
COMMENT ON COLUMN internal.histogram.positive_counts IS
    'Observations of each bucket by itself, parallel to positive_indexes';
COMMENT ON COLUMN internal.histogram.negative_counts IS
    'Observations of the mirrored buckets, parallel to negative_indexes';
COMMENT ON COLUMN internal.histogram.custom_bounds IS
    'Schema -53: upper bounds of buckets 0, 1, ...; the last bucket, to +Inf, is not in it';
COMMENT ON COLUMN internal.histogram.reset_hint IS '0 unknown, 1 reset, 2 no reset, 3 gauge';
COMMENT ON COLUMN internal.histogram.start_time IS 'When counting began, if the sender said so';
COMMENT ON COLUMN internal.histogram.exact_counts IS
    'Where a float8 cannot hold a count: {count, zero_count, positive..., negative...}';

CREATE OR REPLACE TRIGGER refuse_changes
    INSTEAD OF INSERT OR UPDATE OR DELETE ON internal.histogram
    FOR EACH ROW EXECUTE FUNCTION internal.refuse_changes();

CREATE OR REPLACE FUNCTION internal.histograms_between(p_from timestamptz, p_to timestamptz)
RETURNS SETOF internal.histogram
LANGUAGE sql STABLE
AS $function$
    SELECT * FROM internal.histogram_row WHERE time >= p_from AND time < p_to
    UNION ALL
    SELECT @histogram_columns@
    FROM (
        SELECT @histogram_places@
        FROM internal.histogram_block AS x
        WHERE x.first_time >= p_from - interval '6 hours' AND x.first_time < p_to
            AND x.last_time >= p_from
    ) AS b
    @histogram_elements@
    WHERE t.time >= p_from AND t.time < p_to
$function$;
COMMENT ON FUNCTION internal.histograms_between IS
    'Native histograms with p_from <= time < p_to; the planner sees through it';

-- Of blocks only one is looked into: they do not overlap, and one has numbers throughout, or none.
CREATE OR REPLACE FUNCTION internal.newest_histograms(
    p_series bigint[], p_from timestamptz, p_to timestamptz
)
RETURNS SETOF internal.histogram
LANGUAGE sql STABLE
AS $function$
    SELECT newest.*
    FROM unnest(p_series) AS s (series_id)
    CROSS JOIN LATERAL (
        (
            SELECT h.* FROM internal.histogram_row AS h
            WHERE h.series_id = s.series_id AND h.time >= p_from AND h.time < p_to
                AND NOT h.is_stale AND h.count < 'Infinity'
            ORDER BY h.time DESC LIMIT 1
        )
        UNION ALL
        (
            SELECT @histogram_columns@
            FROM (
                SELECT @histogram_places@
                FROM internal.histogram_block AS x
                WHERE x.series_id = s.series_id AND x.first_time < p_to
                    AND x.first_time >= p_from - interval '6 hours'
                    AND NOT x.is_stale AND x.counts[1] < 'Infinity'
                ORDER BY x.first_time DESC LIMIT 1
            ) AS b
            @histogram_elements@
            WHERE t.time >= p_from AND t.time < p_to
            ORDER BY t.time DESC LIMIT 1
        )
        ORDER BY time DESC LIMIT 1
    ) AS newest
$function$;
COMMENT ON FUNCTION internal.newest_histograms IS
    'Of each of these series the newest native histogram with p_from <= time < p_to that is no stale marker, and whose count is a finite number';
