-- What has rollups, of which widths, and from when on buckets are counted: once, for all of sql/.

CREATE OR REPLACE FUNCTION internal.bucket_origin() RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT timestamptz '2000-01-03 00:00+00' $$;
COMMENT ON FUNCTION internal.bucket_origin IS 'Buckets of time are counted from here, a Monday';

CREATE OR REPLACE FUNCTION internal.rolled_up_targets() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ARRAY['internal', 'cumsum'] $$;
COMMENT ON FUNCTION internal.rolled_up_targets IS 'Targets whose samples are aggregated';

CREATE OR REPLACE VIEW internal.rolled_up (target) AS
SELECT unnest(internal.rolled_up_targets());
COMMENT ON VIEW internal.rolled_up IS 'The same as rows: what templates are made for';

CREATE OR REPLACE VIEW internal.rollup_width (target, width, step, source) AS
SELECT target, w.width, w.step, w.source
FROM (
    VALUES ('1m', '1 minute', NULL), ('1h', '1 hour', '1m'), ('1d', '24 hours', '1h')
) AS w (width, step, source)
CROSS JOIN internal.rolled_up;
COMMENT ON VIEW internal.rollup_width IS
    'Widths of rollups, finest first: width is in names, step an interval, source what it combines from';
