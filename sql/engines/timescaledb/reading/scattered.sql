-- A piece of core/prometheus/samples.sql: all samples come as rows.

@target@.samples_between(p_from, v_to)
