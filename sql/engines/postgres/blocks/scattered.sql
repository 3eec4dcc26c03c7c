-- A piece of core/prometheus/samples.sql: samples that come as rows.

@target@.rows_between(p_from, v_to)
