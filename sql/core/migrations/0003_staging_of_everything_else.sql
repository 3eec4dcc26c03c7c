-- What comes beside samples: exemplars, native histograms and metadata. Their staging tables, which
-- say what columns they have, and the one table that has no time to partition by.

-- Rows up to a page stay whole here: compressing what stays for seconds is wasted.
CREATE UNLOGGED TABLE staging_internal.exemplar (
    time      timestamptz NOT NULL,
    series_id bigint NOT NULL,
    value     float8 NOT NULL,
    labels    jsonb NOT NULL
) WITH (autovacuum_enabled = off, toast_tuple_target = 8160);
COMMENT ON TABLE staging_internal.exemplar IS 'COPY exemplars of series of any target into this table';

CREATE UNLOGGED TABLE staging_internal.histogram (
    time             timestamptz NOT NULL,
    series_id        bigint NOT NULL,
    schema           smallint NOT NULL,
    is_float         boolean NOT NULL,
    is_stale         boolean NOT NULL,
    count            float8 NOT NULL,
    sum              float8 NOT NULL,
    zero_threshold   float8 NOT NULL,
    zero_count       float8 NOT NULL,
    positive_indexes int[] NOT NULL,
    positive_counts  float8[] NOT NULL,
    negative_indexes int[] NOT NULL,
    negative_counts  float8[] NOT NULL,
    custom_bounds    float8[],
    reset_hint       smallint NOT NULL,
    start_time       timestamptz,
    exact_counts     numeric[]
) WITH (autovacuum_enabled = off, toast_tuple_target = 8160);
COMMENT ON TABLE staging_internal.histogram IS
    'COPY native histograms of series of any target into this table';

CREATE UNLOGGED TABLE staging_internal.metadata (
    first_seen timestamptz NOT NULL,
    tenant_id  int NOT NULL,
    name       text NOT NULL,
    type       text NOT NULL,
    unit       text NOT NULL,
    help       text NOT NULL
) WITH (autovacuum_enabled = off, toast_tuple_target = 8160);
COMMENT ON TABLE staging_internal.metadata IS 'COPY metadata of metrics into this table';

-- The key is a digest: a help text may be longer than what an index takes.
CREATE TABLE internal.metadata (
    first_seen timestamptz NOT NULL,
    tenant_id  int NOT NULL,
    name       text COLLATE "C" NOT NULL,
    type       text COLLATE "C" NOT NULL,
    unit       text COLLATE "C" NOT NULL,
    help       text NOT NULL,
    digest     bytea NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);
COMMENT ON TABLE internal.metadata IS
    'What senders said of a metric, each text once; the newest first_seen of a name is what holds';
COMMENT ON COLUMN internal.metadata.name IS 'Name of the metric family, as sent';
COMMENT ON COLUMN internal.metadata.type IS
    'unknown, counter, gauge, histogram, gaugehistogram, summary, info or stateset';
COMMENT ON COLUMN internal.metadata.digest IS 'SHA-256 of name, type, unit and help';
