-- Where raw data is, in one list.

CREATE OR REPLACE VIEW internal.store (store, target, name) AS
SELECT * FROM (VALUES
    ('internal', 'internal', 'sample'),
    ('cumsum', 'cumsum', 'sample'),
    ('geo', 'geo', 'sample'),
    ('exemplar', 'internal', 'exemplar'),
    ('histogram', 'internal', 'histogram'),
    ('measure', 'app', 'measure'),
    ('event', 'app', 'event')
) AS stores;
COMMENT ON VIEW internal.store IS
    'Tables whose partitions or chunks come and go: name is the table, target its schema and whose retention it follows';

CREATE OR REPLACE VIEW internal.sample_target (target) AS
SELECT target FROM internal.store WHERE name = 'sample';
COMMENT ON VIEW internal.sample_target IS 'Targets: what templates about samples are made for';

CREATE OR REPLACE VIEW internal.sample_end (target, which, best) AS
SELECT t.target, e.* FROM internal.sample_target AS t
CROSS JOIN (VALUES ('newest', 'max'), ('oldest', 'min')) AS e;
COMMENT ON VIEW internal.sample_end IS
    'Both ends of the samples of each target: what templates about them are made for';
