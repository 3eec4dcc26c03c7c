-- What the template of samples is made for.

CREATE OR REPLACE VIEW internal.samples_form (target, head, lo, hi, tail) AS
SELECT t.target, f.head, f.lo, f.hi, f.tail
FROM internal.sample_target AS t
CROSS JOIN (
    VALUES
        ('CREATE OR REPLACE VIEW @target@.sample AS',
            'timestamptz ''-infinity''', 'timestamptz ''infinity''', ''),
        ('CREATE OR REPLACE FUNCTION @target@.samples_between(p_from timestamptz, p_to timestamptz)'
            ' RETURNS TABLE ("time" timestamptz, series_id bigint, value float8, exact numeric)'
            ' LANGUAGE sql STABLE AS $function$',
            'p_from', 'p_to', '$function$')
) AS f (head, lo, hi, tail);
COMMENT ON VIEW internal.samples_form IS
    'A view and a function for each target, which differ in their first and last line, and in the period';
