-- Engine postgres: partitioned samples, the log of marks, and the tables that rollups are kept in.

CREATE TABLE internal.sample (
    time      timestamptz NOT NULL,
    series_id bigint NOT NULL,
    value     float8 NOT NULL,
    exact     numeric,
    PRIMARY KEY (series_id, time)
) PARTITION BY RANGE (time);
-- The rollup worker reads whole minutes; summaries must follow the inserts for that to be quick.
CREATE INDEX sample_time ON internal.sample USING brin (time) WITH (autosummarize = on);

CREATE TABLE cumsum.sample (LIKE internal.sample, PRIMARY KEY (series_id, time))
    PARTITION BY RANGE (time);
CREATE INDEX sample_time ON cumsum.sample USING brin (time) WITH (autosummarize = on);

CREATE TABLE geo.sample (LIKE internal.sample, PRIMARY KEY (series_id, time))
    PARTITION BY RANGE (time);
CREATE INDEX sample_time ON geo.sample USING brin (time) WITH (autosummarize = on);

COMMENT ON TABLE internal.sample IS 'Samples of target internal, one row a series and time stamp';
COMMENT ON TABLE cumsum.sample IS 'Samples of target cumsum, one row a series and time stamp';
COMMENT ON TABLE geo.sample IS 'Samples of target geo, one row a series and time stamp';

-- Marks are appended, never upserted: concurrent batches would wait for each other's rows. They are
-- many and short-lived, so vacuum comes by number.
CREATE TABLE internal.rollup_mark (
    hour    timestamptz NOT NULL,
    minute  timestamptz,
    metrics int[]
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX rollup_mark_hour ON internal.rollup_mark (hour, minute);
CREATE TABLE cumsum.rollup_mark (LIKE internal.rollup_mark INCLUDING INDEXES)
    WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
COMMENT ON TABLE internal.rollup_mark IS
    'What batches touched and the worker has not stored yet; views compute it from raw samples';
COMMENT ON COLUMN internal.rollup_mark.minute IS 'Null is the whole hour, from a batch of many minutes';
COMMENT ON COLUMN internal.rollup_mark.metrics IS
    'Null is all metrics; else the worker may leave the others alone (a backfill of few series)';
COMMENT ON TABLE cumsum.rollup_mark IS 'As internal.rollup_mark, of cumsum.sample';

-- last_key and exact_last_key are {seconds since 2000, series_id, value}: max() of them is the
-- newest sample, then the one of the largest series_id, and combines from parts.
CREATE TABLE internal.stored_1m (
    metric_id      int NOT NULL,
    bucket         timestamptz NOT NULL,
    samples        bigint NOT NULL,
    sum            numeric,
    min            float8 NOT NULL,
    max            float8 NOT NULL,
    last_key       float8[] NOT NULL,
    exact_max      numeric,
    exact_last_key numeric[],
    PRIMARY KEY (metric_id, bucket)
) WITH (fillfactor = 90);
CREATE INDEX stored_1m_bucket ON internal.stored_1m USING brin (bucket) WITH (autosummarize = on);
CREATE TABLE internal.stored_1h (LIKE internal.stored_1m INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE internal.stored_1d (LIKE internal.stored_1m INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE cumsum.stored_1m (LIKE internal.stored_1m INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE cumsum.stored_1h (LIKE internal.stored_1m INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE cumsum.stored_1d (LIKE internal.stored_1m INCLUDING ALL) WITH (fillfactor = 90);
COMMENT ON TABLE internal.stored_1m IS 'Rollups of unmarked minutes; read view internal.rollup_1m';
COMMENT ON TABLE internal.stored_1h IS 'Rollups of unmarked hours; read view internal.rollup_1h';
COMMENT ON TABLE internal.stored_1d IS 'Rollups of unmarked days; read view internal.rollup_1d';
COMMENT ON TABLE cumsum.stored_1m IS 'Rollups of unmarked minutes; read view cumsum.rollup_1m';
COMMENT ON TABLE cumsum.stored_1h IS 'Rollups of unmarked hours; read view cumsum.rollup_1h';
COMMENT ON TABLE cumsum.stored_1d IS 'Rollups of unmarked days; read view cumsum.rollup_1d';
