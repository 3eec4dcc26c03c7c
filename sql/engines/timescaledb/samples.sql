-- For each row of internal.sample_target: samples of a period, and with their series. On this engine
-- it is no more than a filter, which reaches the chunks.

CREATE OR REPLACE FUNCTION @target@.samples_between(p_from timestamptz, p_to timestamptz)
RETURNS TABLE ("time" timestamptz, series_id bigint, value float8, exact numeric)
LANGUAGE sql STABLE
AS $function$
    SELECT x.time, x.series_id, x.value, x.exact
    FROM @target@.sample AS x
    WHERE x.time >= p_from AND x.time < p_to
$function$;
COMMENT ON FUNCTION @target@.samples_between IS
    'Samples with p_from <= time < p_to; the planner sees through it';

CREATE OR REPLACE VIEW @target@.series_sample AS
SELECT x.time, x.series_id, x.value, x.exact, i.tenant_id, i.name, i.schema, i.labels
FROM @target@.sample AS x
JOIN internal.series AS i USING (series_id);
COMMENT ON VIEW @target@.series_sample IS 'Every sample of target @target@ with its series';

CREATE OR REPLACE VIEW @target@.series_sample_last_day AS
SELECT * FROM @target@.series_sample WHERE time >= now() - interval '24 hours';
COMMENT ON VIEW @target@.series_sample_last_day IS 'Samples of the last 24 hours with their series';

CREATE OR REPLACE FUNCTION @target@.series_samples_between(p_from timestamptz, p_to timestamptz)
RETURNS SETOF @target@.series_sample
LANGUAGE sql STABLE
AS $function$
    SELECT x.* FROM @target@.series_sample AS x WHERE x.time >= p_from AND x.time < p_to
$function$;
COMMENT ON FUNCTION @target@.series_samples_between IS
    'Samples with p_from <= time < p_to, with their series; the planner sees through it';

-- Who takes samples away by hand ends a life, see core/catalogue/life.sql; chunks that go by retention do
-- not. (There is no CREATE OR REPLACE for a trigger of a hypertable.)
DROP TRIGGER IF EXISTS note_changed_samples ON @target@.sample;
CREATE TRIGGER note_changed_samples
    AFTER DELETE OR UPDATE OR TRUNCATE ON @target@.sample
    FOR EACH STATEMENT EXECUTE FUNCTION internal.note_changed_samples();
