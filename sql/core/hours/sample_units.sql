-- For each row of internal.sample_target: samples as what reads hours, too, takes them for: a stretch of
-- one series, here of one sample. See units.sql.

CREATE OR REPLACE FUNCTION @target@.sample_units(p_from timestamptz, p_to timestamptz)
RETURNS TABLE (
    series_id bigint, first_time timestamptz, last_time timestamptz, samples int, sum numeric,
    min float8, max float8, exact numeric, first float8, last float8, lost numeric
)
LANGUAGE sql STABLE AS $function$
    SELECT x.series_id, x.time, x.time, 1,
        coalesce(x.exact, CASE WHEN abs(x.value) < 'Infinity' THEN x.value::text::numeric END),
        x.value, x.value, x.exact, x.value, x.value, 0::numeric
    FROM @target@.samples_between(p_from, p_to) AS x
$function$;
COMMENT ON FUNCTION @target@.sample_units IS
    'Samples with p_from <= time < p_to, NaN too, in the columns of units';
