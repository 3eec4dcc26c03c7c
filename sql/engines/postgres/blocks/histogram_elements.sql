-- A piece: places i from lo to hi in a block b of histograms, and the time of each. array_cat with nothing unpacks an
-- array once, and not for each element again; what a query does not ask for it does not unpack.

CROSS JOIN LATERAL (
    SELECT array_cat(b.counts, '{}') AS counts, array_cat(b.sums, '{}') AS sums,
        array_cat(b.zero_counts, '{}') AS zero_counts,
        array_cat(b.positive_counts, '{}') AS positive_counts,
        array_cat(b.negative_counts, '{}') AS negative_counts, array_cat(b.times, '{}') AS times,
        cardinality(b.positive_indexes) AS positive, cardinality(b.negative_indexes) AS negative
    OFFSET 0
) AS a
CROSS JOIN LATERAL generate_series(b.lo, b.hi) AS i (i)
CROSS JOIN LATERAL (
    SELECT coalesce(a.times[i.i], b.first_time + (i.i - 1) * b.step_us * interval '1 microsecond')
        AS time
) AS t
