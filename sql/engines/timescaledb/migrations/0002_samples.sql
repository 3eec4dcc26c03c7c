-- Engine timescaledb: hypertables, and continuous aggregates of minutes, hours and days.

CREATE TABLE internal.sample (
    time      timestamptz NOT NULL,
    series_id bigint NOT NULL,
    value     float8 NOT NULL,
    exact     numeric,
    PRIMARY KEY (series_id, time)
);
CREATE TABLE cumsum.sample (LIKE internal.sample, PRIMARY KEY (series_id, time));
CREATE TABLE geo.sample (LIKE internal.sample, PRIMARY KEY (series_id, time));

SELECT create_hypertable(
    'internal.sample', by_range('time', INTERVAL '1 day'), create_default_indexes => false);
SELECT create_hypertable(
    'cumsum.sample', by_range('time', INTERVAL '7 days'), create_default_indexes => false);
SELECT create_hypertable(
    'geo.sample', by_range('time', INTERVAL '7 days'), create_default_indexes => false);

CREATE INDEX sample_time ON internal.sample USING brin (time) WITH (autosummarize = on);
CREATE INDEX sample_time ON cumsum.sample USING brin (time) WITH (autosummarize = on);
CREATE INDEX sample_time ON geo.sample USING brin (time) WITH (autosummarize = on);

COMMENT ON TABLE internal.sample IS 'Samples of target internal, one row a series and time stamp';
COMMENT ON TABLE cumsum.sample IS 'Samples of target cumsum, one row a series and time stamp';
COMMENT ON TABLE geo.sample IS 'Samples of target geo, one row a series and time stamp';

-- Segments of one series in order of time take 3.8 bytes a sample.
ALTER TABLE internal.sample SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
    timescaledb.compress_orderby = 'time'
);
ALTER TABLE cumsum.sample SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
    timescaledb.compress_orderby = 'time'
);
ALTER TABLE geo.sample SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
    timescaledb.compress_orderby = 'time'
);

-- The newest sample, then the one of the largest series_id, is the largest array of time, series and
-- value, and so combines from parts. It is kept as three columns, which compress far better.
DO $create$
DECLARE
    v_target text;
    v_step   record;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        EXECUTE replace(replace($template$
CREATE MATERIALIZED VIEW @target@.parts_1m
WITH (
    timescaledb.continuous, timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false
) AS
SELECT time_bucket('1 minute', x.time) AS bucket, s.tenant_id, s.schema, s.name,
    count(*) AS samples,
    sum(coalesce(x.exact, CASE WHEN abs(x.value) < 'Infinity' THEN x.value::text::numeric END))
        AS sum,
    min(x.value) AS min, max(x.value) AS max,
    (max(ARRAY[@seconds@::float8, x.series_id, x.value]))[1] AS last_at,
    (max(ARRAY[@seconds@::float8, x.series_id, x.value]))[2] AS last_series,
    (max(ARRAY[@seconds@::float8, x.series_id, x.value]))[3] AS last,
    max(x.exact) AS exact_max,
    (max(ARRAY[@seconds@, x.series_id, x.exact]) FILTER (WHERE x.exact IS NOT NULL))[1]
        AS exact_last_at,
    (max(ARRAY[@seconds@, x.series_id, x.exact]) FILTER (WHERE x.exact IS NOT NULL))[2]
        AS exact_last_series,
    (max(ARRAY[@seconds@, x.series_id, x.exact]) FILTER (WHERE x.exact IS NOT NULL))[3]
        AS exact_last
FROM @target@.sample x
JOIN internal.series s ON s.series_id = x.series_id
WHERE x.value <> 'NaN'
GROUP BY 1, 2, 3, 4
WITH NO DATA;
COMMENT ON VIEW @target@.parts_1m IS 'Minutes of each metric, as parts that combine to hours';
        $template$,
            '@seconds@', 'extract(epoch FROM x.time - ''2000-01-03 00:00+00''::timestamptz)'),
            '@target@', v_target);

        -- Few, long chunks: planning a year of days must not cost more than reading it.
        FOR v_step IN
            SELECT * FROM (VALUES
                ('1m', '1h', '1 hour', '70 days'), ('1h', '1d', '1 day', '700 days')
            ) AS step (source, width, step, chunk)
        LOOP
            EXECUTE format($template$
CREATE MATERIALIZED VIEW %1$I.parts_%3$s
WITH (
    timescaledb.continuous, timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false, timescaledb.chunk_interval = %5$L
) AS
SELECT time_bucket(INTERVAL %4$L, bucket) AS bucket, tenant_id, schema, name,
    sum(samples)::bigint AS samples, sum(sum) AS sum, min(min) AS min, max(max) AS max,
    (max(ARRAY[last_at, last_series, last]))[1] AS last_at,
    (max(ARRAY[last_at, last_series, last]))[2] AS last_series,
    (max(ARRAY[last_at, last_series, last]))[3] AS last,
    max(exact_max) AS exact_max,
    (max(ARRAY[exact_last_at, exact_last_series, exact_last])
        FILTER (WHERE exact_last IS NOT NULL))[1] AS exact_last_at,
    (max(ARRAY[exact_last_at, exact_last_series, exact_last])
        FILTER (WHERE exact_last IS NOT NULL))[2] AS exact_last_series,
    (max(ARRAY[exact_last_at, exact_last_series, exact_last])
        FILTER (WHERE exact_last IS NOT NULL))[3] AS exact_last
FROM %1$I.parts_%2$s
GROUP BY 1, 2, 3, 4
WITH NO DATA;
COMMENT ON VIEW %1$I.parts_%3$s IS 'Buckets of %3$s, combined from parts_%2$s';
            $template$, v_target, v_step.source, v_step.width, v_step.step, v_step.chunk);
        END LOOP;

        EXECUTE replace($template$
CREATE INDEX ON @target@.parts_1m (name, schema, tenant_id, bucket);
CREATE INDEX ON @target@.parts_1h (name, schema, tenant_id, bucket);
CREATE INDEX ON @target@.parts_1d (name, schema, tenant_id, bucket);
ALTER MATERIALIZED VIEW @target@.parts_1m SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'name, schema, tenant_id',
    timescaledb.compress_orderby = 'bucket'
);
        $template$, '@target@', v_target);
    END LOOP;
END
$create$;
