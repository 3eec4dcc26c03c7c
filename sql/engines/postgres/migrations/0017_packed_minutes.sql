-- Engine postgres: minutes that are over are packed, three hours of a metric in a row (see
-- rollups/packed.sql). stored_1m stays the table of those that are not, and is small from then on.

CREATE TABLE internal.packed_1m (
    metric_id         int NOT NULL,
    span              timestamptz NOT NULL,
    each_samples      int NOT NULL,
    each_sum          numeric,
    each_max          float8 NOT NULL,
    each_last_us      int NOT NULL,
    each_last_series  bigint NOT NULL,
    samples           int[],
    sum               numeric[],
    min               float8[],
    max               float8[],
    last              float8[],
    last_us           int[],
    last_series       bigint[],
    exact_max         numeric[],
    exact_last        numeric[],
    exact_last_us     int[],
    exact_last_series bigint[],
    PRIMARY KEY (metric_id, span)
);
CREATE INDEX packed_1m_span ON internal.packed_1m (span);
-- Compressed, and in the row: from a table of TOAST each array would be three pages more.
ALTER TABLE internal.packed_1m
    ALTER samples SET STORAGE MAIN, ALTER sum SET STORAGE MAIN, ALTER min SET STORAGE MAIN,
    ALTER max SET STORAGE MAIN, ALTER last SET STORAGE MAIN, ALTER last_us SET STORAGE MAIN,
    ALTER last_series SET STORAGE MAIN, ALTER exact_max SET STORAGE MAIN,
    ALTER exact_last SET STORAGE MAIN, ALTER exact_last_us SET STORAGE MAIN,
    ALTER exact_last_series SET STORAGE MAIN;
CREATE TABLE cumsum.packed_1m (LIKE internal.packed_1m INCLUDING ALL);
ALTER TABLE internal.packed_1m SET (toast_tuple_target = 128);
ALTER TABLE cumsum.packed_1m SET (toast_tuple_target = 128);

-- A condition on the time of a minute is one on a column of this table, and so reaches an index.
CREATE TABLE internal.minute (
    bucket timestamptz PRIMARY KEY,
    span   timestamptz NOT NULL,
    place  int NOT NULL
);

CREATE TABLE internal.packed_minutes (
    target        text PRIMARY KEY REFERENCES internal.target,
    before        timestamptz NOT NULL DEFAULT '-infinity',
    reached       timestamptz NOT NULL DEFAULT '-infinity',
    unpacked_from timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO internal.packed_minutes (target) VALUES ('internal'), ('cumsum');

COMMENT ON TABLE internal.packed_1m IS
    'Minutes of a metric in three hours from span on, arrays of 180 places; read view internal.rollup_1m. An element that is null is the each_ of its column, of min and last the max; an array that is null has no other elements';
COMMENT ON COLUMN internal.packed_1m.samples IS 'Null in a minute that has none';
COMMENT ON COLUMN internal.packed_1m.sum IS 'NaN stands for null: nothing but infinities';
COMMENT ON COLUMN internal.packed_1m.last_us IS 'Microseconds from the start of the minute to its newest sample';
COMMENT ON COLUMN internal.packed_1m.exact_last IS 'Null where no sample was exact';
COMMENT ON COLUMN internal.packed_1m.exact_last_us IS 'Null where last_us says the same; so is exact_last_series';
COMMENT ON TABLE cumsum.packed_1m IS 'As internal.packed_1m; read view cumsum.rollup_1m';
COMMENT ON TABLE internal.minute IS
    'Minutes of all packed spans, and the place of each in the arrays of packed_1m';
COMMENT ON TABLE internal.packed_minutes IS
    'How far the minutes of a target are packed, but for metrics of which three hours have few';
COMMENT ON COLUMN internal.packed_minutes.before IS
    'Spans before this are packed; lower than reached where late samples have made rows of some again';
COMMENT ON COLUMN internal.packed_minutes.unpacked_from IS
    'When the first of these came: others may follow, and are packed together with it';

-- What is left of a table that has been packed is found by an index that does not know of what is gone;
-- ranges of pages never forget. The lock on readers comes last, and lasts until the commit.
CREATE INDEX stored_1m_minute ON internal.stored_1m (bucket);
CREATE INDEX stored_1m_minute ON cumsum.stored_1m (bucket);
DROP INDEX internal.stored_1m_bucket, cumsum.stored_1m_bucket_idx;
