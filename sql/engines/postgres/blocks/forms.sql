-- What the templates of samples are made for.

-- That of earlier versions had other columns.
DROP VIEW IF EXISTS internal.samples_form;
CREATE VIEW internal.samples_form (target, head, lo, hi, more, "join", from_blocks, tail) AS
SELECT t.target, f.head, coalesce(f.lo, 'p_from'), coalesce(f.hi, 'p_to'),
    CASE WHEN f.of_series THEN ', i.tenant_id, i.name, i.schema, i.labels' ELSE '' END,
    CASE WHEN f.of_series THEN 'JOIN internal.series AS i ON i.series_id = x.series_id' ELSE '' END,
    CASE WHEN f.has_blocks THEN '@blocks_as_samples@' ELSE '' END,
    CASE WHEN f.lo IS NULL THEN '$function$' ELSE '' END
FROM internal.sample_target AS t
CROSS JOIN (
    VALUES
        ('CREATE OR REPLACE VIEW @target@.sample AS',
            'timestamptz ''-infinity''', 'timestamptz ''infinity''', false, true),
        ('CREATE OR REPLACE VIEW @target@.series_sample AS',
            'timestamptz ''-infinity''', 'timestamptz ''infinity''', true, true),
        ('CREATE OR REPLACE VIEW @target@.series_sample_last_day AS',
            'now() - interval ''24 hours''', 'timestamptz ''infinity''', true, true),
        ('CREATE OR REPLACE FUNCTION @target@.samples_between(p_from timestamptz, p_to timestamptz)'
            ' RETURNS TABLE ("time" timestamptz, series_id bigint, value float8, exact numeric)'
            ' LANGUAGE sql STABLE AS $function$', NULL, NULL, false, true),
        ('CREATE OR REPLACE FUNCTION @target@.series_samples_between('
            'p_from timestamptz, p_to timestamptz) RETURNS SETOF @target@.series_sample'
            ' LANGUAGE sql STABLE AS $function$', NULL, NULL, true, true),
        ('CREATE OR REPLACE FUNCTION @target@.rows_between(p_from timestamptz, p_to timestamptz)'
            ' RETURNS TABLE ("time" timestamptz, series_id bigint, value float8, exact numeric)'
            ' LANGUAGE sql STABLE AS $function$', NULL, NULL, false, false)
) AS f (head, lo, hi, of_series, has_blocks);
COMMENT ON VIEW internal.samples_form IS
    'Views and functions of samples for each target, which differ in their first and last line, in the period, in what is read beside a sample, and in whether they read blocks';

CREATE OR REPLACE VIEW internal.blocks_form (target, lo, hi) AS
SELECT target, 'p_from', 'p_to' FROM internal.sample_target;
COMMENT ON VIEW internal.blocks_form IS 'What between.sql is made for';

CREATE OR REPLACE VIEW internal.ends_form (target, lo, hi, which, best, better, "order", beyond) AS
SELECT b.*, s.which, s.best, f.better, f.direction, f.beyond
FROM internal.blocks_form AS b
JOIN internal.sample_end AS s ON s.target = b.target
JOIN (
    VALUES
        ('newest', 'greatest', 'DESC', 'x.last_time > coalesce(n.time, ''-infinity'')'),
        ('oldest', 'least', 'ASC', 'x.first_time < coalesce(n.time, ''infinity'')')
) AS f (which, better, direction, beyond) ON f.which = s.which;
COMMENT ON VIEW internal.ends_form IS 'What ends.sql is made for';
