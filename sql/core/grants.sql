-- Who may call what. PUBLIC may call nothing: the owner's default privileges say so for whatever it
-- creates, and this says it again for a routine that somebody granted to PUBLIC by hand.

DO $grants$
DECLARE
    v_routine regprocedure;
BEGIN
    FOR v_routine IN
        SELECT oid FROM pg_proc
        WHERE pronamespace IN ('api'::regnamespace, 'app'::regnamespace, 'internal'::regnamespace)
            AND proowner = 'promgres_owner'::regrole
    LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', v_routine);
    END LOOP;
END
$grants$;

GRANT USAGE ON SCHEMA api TO web_anon, writer;

GRANT EXECUTE ON FUNCTION
    api.get_agg_metric(text, text, interval, timestamptz, timestamptz),
    api.get_agg_cumsum_metric(text, text, interval, timestamptz, timestamptz),
    api.histogram_quantile(float8, text, text, interval, timestamptz, timestamptz),
    api.histogram_count(text, text, interval, timestamptz, timestamptz),
    api.histogram_sum(text, text, interval, timestamptz, timestamptz),
    api.get_exemplars(text, text, timestamptz, timestamptz),
    api.get_metric_metadata(),
    api.get_measures(text, timestamptz, timestamptz, jsonb, int, timestamptz, uuid),
    api.get_events(text, timestamptz, timestamptz, jsonb, int, timestamptz, uuid),
    api.get_measure_buckets(interval, text, timestamptz, timestamptz, jsonb, int),
    api.get_all_latest_common_metrics(),
    api.get_all_latest_cumsum_metrics()
TO web_anon, writer;
