-- What the templates of rollups are made for, beside internal.rolled_up.

CREATE OR REPLACE VIEW internal.live_width (target, width, step, is_live, packed, between) AS
SELECT target, width, step,
    CASE width
        WHEN '1m' THEN 'AND k.hour = date_bin(''1 hour'', r.bucket, @origin@)'
            ' AND k.minutes & internal.minute_bit(r.bucket) <> 0'
        WHEN '1h' THEN 'AND k.hour = r.bucket'
        WHEN '1d' THEN 'AND date_bin(''24 hours'', k.hour, @origin@) = r.bucket'
    END,
    CASE width WHEN '1m' THEN '@packed_minutes@' ELSE '' END,
    CASE width WHEN '1m' THEN '@target@.minutes_between(p_from, p_to)'
        ELSE '@target@.stored_' || width END
FROM internal.rollup_width;
COMMENT ON VIEW internal.live_width IS
    'internal.rollup_width, by which condition a mark k makes a bucket r of it live, and where else than in stored_{width} its buckets are';

CREATE OR REPLACE VIEW internal.coarser_width (target, source, width, step) AS
SELECT target, source, width, step FROM internal.rollup_width WHERE source IS NOT NULL;
COMMENT ON VIEW internal.coarser_width IS
    'Those of internal.rollup_width that combine from a finer one';
