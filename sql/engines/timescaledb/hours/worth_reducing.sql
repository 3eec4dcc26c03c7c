-- A piece of core/prometheus/reduced.sql: samples come as rows.

interval '12 hours'
