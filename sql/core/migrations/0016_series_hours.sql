-- Hours of single series: what 24 hours of one series amount to, in a row.
--
-- A row a series and hour would take a quarter of what the packed samples take (each column by itself
-- 150 bytes, its key 30); a row a day of arrays a tenth or less, since most of them are constant.

CREATE TABLE internal.series_hours (
    series_id bigint NOT NULL,
    day       timestamptz NOT NULL,
    samples   int[] NOT NULL,
    sum       numeric[] NOT NULL,
    min       float8[],
    max       float8[],
    first     float8[] NOT NULL,
    last      float8[] NOT NULL,
    first_us  int[] NOT NULL,
    last_us   int[] NOT NULL,
    lost      numeric[] NOT NULL,
    resets    int[] NOT NULL,
    nans      int[] NOT NULL,
    PRIMARY KEY (series_id, day)
) PARTITION BY RANGE (day);
CREATE TABLE cumsum.series_hours (LIKE internal.series_hours, PRIMARY KEY (series_id, day))
    PARTITION BY RANGE (day);

CREATE TABLE internal.hours_state (
    target        text PRIMARY KEY REFERENCES internal.target,
    marked_before timestamptz NOT NULL DEFAULT '-infinity',
    is_known      boolean NOT NULL DEFAULT true,
    waits_for     text[],
    made_before   timestamptz NOT NULL DEFAULT '-infinity',
    made_series   bigint NOT NULL DEFAULT 0
);
INSERT INTO internal.hours_state (target) VALUES ('internal'), ('cumsum');

CREATE TABLE internal.hours_mark (
    target    text NOT NULL,
    series_id bigint NOT NULL,
    day       timestamptz NOT NULL
);
CREATE TABLE internal.hours_todo (
    series_id    bigint NOT NULL,
    day          timestamptz NOT NULL,
    target       text NOT NULL,
    is_announced boolean NOT NULL DEFAULT false,
    since        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (series_id, day)
);

COMMENT ON TABLE internal.series_hours IS
    'What each hour of a series has, a row a day (in UTC); internal.series_hour is a row an hour. Arrays have an element an hour, or one if all 24 are the same. There is no row for days of few samples, with exact values or -0, and for those that wait to be made again';
COMMENT ON TABLE cumsum.series_hours IS 'As internal.series_hours, of target cumsum';
COMMENT ON COLUMN internal.series_hours.samples IS 'How many samples the hour has, NaN left out';
COMMENT ON COLUMN internal.series_hours.sum IS 'Of finite values as decimals';
COMMENT ON COLUMN internal.series_hours.min IS 'Null: the same as first';
COMMENT ON COLUMN internal.series_hours.max IS 'Null: the same as last';
COMMENT ON COLUMN internal.series_hours.first_us IS
    'When the first sample was, in microseconds from the middle of the hour, which an int can hold';
COMMENT ON COLUMN internal.series_hours.lost IS
    'What a counter lost at resets: the sum of values that a smaller one followed';
COMMENT ON COLUMN internal.series_hours.resets IS 'How often a smaller value followed';
COMMENT ON COLUMN internal.series_hours.nans IS 'How many samples are NaN, stale markers among them';
COMMENT ON TABLE internal.hours_state IS
    'How far hours of series are made. Who locks a row makes that target''s';
COMMENT ON COLUMN internal.hours_state.marked_before IS
    'Who stores samples of before this marks their series and days, once is_known';
COMMENT ON COLUMN internal.hours_state.is_known IS
    'Whether every transaction that is under way knows of marked_before and of hours_todo.is_announced';
COMMENT ON COLUMN internal.hours_state.waits_for IS
    'Virtual ids of transactions that may not know; null: look who is there';
COMMENT ON COLUMN internal.hours_state.made_before IS 'Days before this have been made';
COMMENT ON COLUMN internal.hours_state.made_series IS 'Of the next day, series up to this';
COMMENT ON TABLE internal.hours_mark IS
    'Days of series that have got samples since their hours were made, which nobody reads therefore: a log';
COMMENT ON TABLE internal.hours_todo IS 'Days of series whose hours are to be made again';
COMMENT ON COLUMN internal.hours_todo.is_announced IS
    'They are about to be made: samples that come now are marked again';
