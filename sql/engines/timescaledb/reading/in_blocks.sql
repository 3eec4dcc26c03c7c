-- A piece of core/prometheus/samples.sql: none are in blocks.

0
