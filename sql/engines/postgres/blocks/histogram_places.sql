-- A piece: a block x of histograms, and between which places those with p_from <= time < p_to are: of a
-- regular step not many more than these, else all.

x.*,
    CASE WHEN x.times IS NULL AND p_from BETWEEN x.first_time AND x.last_time THEN greatest(1,
        (1000000 * extract(epoch FROM p_from - x.first_time) / x.step_us)::int) ELSE 1 END AS lo,
    CASE WHEN x.times IS NULL AND p_to < x.last_time THEN least(x.histograms,
        (1000000 * extract(epoch FROM p_to - x.first_time) / x.step_us)::int + 2)
        ELSE x.histograms END AS hi
