-- Engine postgres: a mark says whose bucket it is about, so that nobody else's becomes live by it.

-- Rows of earlier versions have neither and mean what they meant: all metrics, of a minute or of a
-- whole hour. (`metrics` is theirs: it was a list, which a reader would have to search row by row.)
ALTER TABLE internal.rollup_mark ADD COLUMN metric_id int, ADD COLUMN minutes bigint;
ALTER TABLE cumsum.rollup_mark ADD COLUMN metric_id int, ADD COLUMN minutes bigint;
CREATE INDEX rollup_mark_metric ON internal.rollup_mark (metric_id, hour);
CREATE INDEX rollup_mark_metric ON cumsum.rollup_mark (metric_id, hour);

COMMENT ON COLUMN internal.rollup_mark.minute IS 'The newest minute; null is the whole hour';
COMMENT ON COLUMN internal.rollup_mark.minutes IS
    'Minutes of the hour, a bit each; null is the one of the column minute, or the whole hour';
COMMENT ON COLUMN internal.rollup_mark.metric_id IS 'Null is all metrics';
COMMENT ON COLUMN internal.rollup_mark.metrics IS
    'Written by earlier versions only, and counts as all metrics';

-- Whose a series is, without its labels: what marks late samples, and rolls up a batch of them,
-- asks it of thousands at a time and finds all of it in the index.
ALTER TABLE internal.series
    DROP CONSTRAINT series_pkey,
    ADD CONSTRAINT series_pkey PRIMARY KEY (series_id) INCLUDE (metric_id);
