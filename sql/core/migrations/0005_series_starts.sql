-- When counting began, as remote write 2.0 says with each sample: it changes only when a counter is
-- reset, so that it is kept once and not with every sample.

CREATE UNLOGGED TABLE staging_internal.series_start (
    start_time timestamptz NOT NULL,
    series_id  bigint NOT NULL
) WITH (autovacuum_enabled = off);
COMMENT ON TABLE staging_internal.series_start IS
    'COPY start time stamps of series of any target into this table';

CREATE TABLE internal.series_start (
    series_id  bigint NOT NULL,
    start_time timestamptz NOT NULL,
    PRIMARY KEY (series_id, start_time)
);
COMMENT ON TABLE internal.series_start IS
    'When counting of a series began, each time that a sender gave once: the resets of a counter';
