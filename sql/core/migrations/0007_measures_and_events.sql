-- Measures and events that applications push: their staging tables, which names there are, and
-- which idempotency keys were taken lately.

-- Nothing but the row that tells their retention: measures are metrics of the targets above, but
-- are kept, and dropped, by themselves.
INSERT INTO internal.target (target) VALUES ('app');

-- Rows up to a page stay whole here: compressing what stays for seconds is wasted.
CREATE UNLOGGED TABLE staging_app.measure (
    time        timestamptz NOT NULL,
    tenant_id   int NOT NULL,
    name        text NOT NULL,
    value       float8 NOT NULL,
    exact       numeric,
    attributes  jsonb NOT NULL,
    item_id     uuid NOT NULL,
    key_decides boolean NOT NULL,
    target      text NOT NULL,
    schema      text NOT NULL
) WITH (autovacuum_enabled = off, toast_tuple_target = 8160);
COMMENT ON TABLE staging_app.measure IS 'COPY measures of any tenant into this table';
COMMENT ON COLUMN staging_app.measure.key_decides IS
    'The sender gave an idempotency key and no time: app.idempotency says whether the row is new';
COMMENT ON COLUMN staging_app.measure.target IS 'internal or cumsum: as which metric it is read';

CREATE UNLOGGED TABLE staging_app.event (
    time        timestamptz NOT NULL,
    tenant_id   int NOT NULL,
    name        text NOT NULL,
    attributes  jsonb NOT NULL,
    item_id     uuid NOT NULL,
    key_decides boolean NOT NULL
) WITH (autovacuum_enabled = off, toast_tuple_target = 8160);
COMMENT ON TABLE staging_app.event IS 'COPY events of any tenant into this table';
COMMENT ON COLUMN staging_app.event.key_decides IS
    'The sender gave an idempotency key and no time: app.idempotency says whether the row is new';

-- No foreign keys to tenants: tenants are never deleted, and a check of each row costs.
CREATE TABLE app.idempotency (
    tenant_id int NOT NULL,
    store     text COLLATE "C" NOT NULL,
    item_id   uuid NOT NULL,
    time      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, store, item_id)
);
CREATE INDEX idempotency_time ON app.idempotency (time);
COMMENT ON TABLE app.idempotency IS
    'Idempotency keys of items without a time of their own: the first stays, for a week';
COMMENT ON COLUMN app.idempotency.store IS 'measure or event: each has its own keys';
COMMENT ON COLUMN app.idempotency.item_id IS 'Digest of the key';
COMMENT ON COLUMN app.idempotency.time IS 'Time of the item that was stored';

-- In the order in which readers ask.
CREATE TABLE app.measure_name (
    tenant_id int NOT NULL,
    target    text COLLATE "C" NOT NULL,
    metric    text COLLATE "C" NOT NULL,
    schema    text COLLATE "C" NOT NULL,
    name      text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, target, metric, schema, name)
);
COMMENT ON TABLE app.measure_name IS
    'Which measures there are, and as which metric each is read beside Prometheus series';
COMMENT ON COLUMN app.measure_name.metric IS 'The name with its ASCII letters in lower case';
COMMENT ON COLUMN app.measure_name.name IS 'The name as sent';
