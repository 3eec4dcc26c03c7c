-- Engine timescaledb: hypertables of exemplars and native histograms, chunked as internal.sample is.

CREATE TABLE internal.exemplar (
    LIKE staging_internal.exemplar,
    labels_hash bigint NOT NULL,
    PRIMARY KEY (series_id, time, value, labels_hash)
);
CREATE TABLE internal.histogram (LIKE staging_internal.histogram, PRIMARY KEY (series_id, time));

SELECT create_hypertable(
    'internal.exemplar', by_range('time', INTERVAL '1 day'), create_default_indexes => false);
SELECT create_hypertable(
    'internal.histogram', by_range('time', INTERVAL '1 day'), create_default_indexes => false);

CREATE INDEX exemplar_time ON internal.exemplar USING brin (time) WITH (autosummarize = on);
CREATE INDEX histogram_time ON internal.histogram USING brin (time) WITH (autosummarize = on);

-- Every column of a key has to be one that compression segments or orders by.
ALTER TABLE internal.exemplar SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
    timescaledb.compress_orderby = 'time, value, labels_hash'
);
ALTER TABLE internal.histogram SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
    timescaledb.compress_orderby = 'time'
);

COMMENT ON TABLE internal.exemplar IS
    'Single observations, with labels such as trace_id, of series of any target';
COMMENT ON COLUMN internal.exemplar.labels_hash IS 'jsonb_hash_extended(labels, 0)';

COMMENT ON TABLE internal.histogram IS
    'Native histograms of series of any target, one row a series and time stamp';
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
