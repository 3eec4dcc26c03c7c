-- Tables as Telegraf's PostgreSQL output leaves them (tags as foreign keys).

CREATE SCHEMA internal;
CREATE SCHEMA cumsum;
CREATE SCHEMA staging_internal;

CREATE TABLE internal.prometheus_remote_write (
    time timestamptz NOT NULL, tag_id bigint NOT NULL, name text NOT NULL, schema text NOT NULL,
    value numeric NOT NULL, UNIQUE (time, tag_id, name, schema)
);
CREATE TABLE cumsum.prometheus_remote_write (LIKE internal.prometheus_remote_write INCLUDING ALL);
CREATE TABLE staging_internal.prometheus_remote_write (LIKE internal.prometheus_remote_write);
CREATE TABLE internal.prometheus_remote_write_tag (
    tag_id bigint PRIMARY KEY, host text, instance text, country_name text, city text,
    supply text, excluded_supply text, amount text
);
CREATE TABLE internal.excluded_addresses (id serial PRIMARY KEY, value text NOT NULL UNIQUE);
