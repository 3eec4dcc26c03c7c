-- A piece of core/prometheus/reduced.sql: arrays of blocks reach numpy ten times as fast as rows.

CASE WHEN internal.packs() THEN interval '5 days' ELSE interval '12 hours' END
