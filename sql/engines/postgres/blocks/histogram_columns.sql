-- A piece: a histogram as internal.histogram_row has it, the one at place i of a block b, see
-- histogram_elements.sql. A block of one keeps its arrays as they are, whatever their shape.

t.time, b.series_id, b.schema, b.is_float, b.is_stale, a.counts[i.i] AS count, a.sums[i.i] AS sum,
    b.zero_threshold, a.zero_counts[i.i] AS zero_count, b.positive_indexes,
    CASE WHEN b.histograms = 1 THEN a.positive_counts
        ELSE a.positive_counts[(i.i - 1) * a.positive + 1:i.i * a.positive] END AS positive_counts,
    b.negative_indexes,
    CASE WHEN b.histograms = 1 THEN a.negative_counts
        ELSE a.negative_counts[(i.i - 1) * a.negative + 1:i.i * a.negative] END AS negative_counts,
    b.custom_bounds, b.reset_hint, b.start_time, b.exact_counts
