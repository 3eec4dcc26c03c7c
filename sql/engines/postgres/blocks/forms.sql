-- What the templates of samples are made for.

CREATE OR REPLACE VIEW internal.samples_form (target, head, lo, hi, regular, tail) AS
SELECT t.target, f.head, f.lo, f.hi, f.regular, f.tail
FROM internal.sample_target AS t
CROSS JOIN (
    VALUES
        ('CREATE OR REPLACE VIEW @target@.sample AS',
            'timestamptz ''-infinity''', 'timestamptz ''infinity''', 'b.step_ms IS NOT NULL', ''),
        ('CREATE OR REPLACE FUNCTION @target@.samples_between(p_from timestamptz, p_to timestamptz)'
            ' RETURNS TABLE ("time" timestamptz, series_id bigint, value float8, exact numeric)'
            ' LANGUAGE sql STABLE AS $function$',
            'p_from', 'p_to', 'b.step_ms IS NOT NULL', '$function$'),
        ('CREATE OR REPLACE FUNCTION @target@.rows_between(p_from timestamptz, p_to timestamptz)'
            ' RETURNS TABLE ("time" timestamptz, series_id bigint, value float8, exact numeric)'
            ' LANGUAGE sql STABLE AS $function$',
            'p_from', 'p_to', 'false', '$function$')
) AS f (head, lo, hi, regular, tail);
COMMENT ON VIEW internal.samples_form IS
    'A view and two functions for each target, which differ in their first and last line, in the period, and in what they take from blocks';

CREATE OR REPLACE VIEW internal.blocks_form (target, lo, hi) AS
SELECT target, 'p_from', 'p_to' FROM internal.sample_target;
COMMENT ON VIEW internal.blocks_form IS 'What between.sql is made for';
