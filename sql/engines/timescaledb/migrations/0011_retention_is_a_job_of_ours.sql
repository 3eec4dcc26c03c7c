-- Engine timescaledb: the extension's retention policies drop what no rollup has seen yet, and meet
-- a refresh in deadlocks. A job of ours takes their place (repeatable/24_policies.sql).

SELECT public.delete_job(job_id)
FROM timescaledb_information.jobs
WHERE proc_name = 'policy_retention' AND hypertable_schema IN ('internal', 'cumsum', 'geo', 'app');

-- What those policies may have dropped, and what was refused and not refreshed, up to now.
UPDATE internal.target AS t
SET dropped_before = greatest(
    t.dropped_before, date_bin('1 day', now(), '2000-01-03 00:00+00') - make_interval(hours => 24 * (s.value::int - 1)))
FROM internal.setting AS s
WHERE s.key = 'retention.' || t.target || '_days' AND s.value <> '';

ALTER TABLE internal.setting ADD COLUMN changed_at timestamptz NOT NULL DEFAULT '-infinity';
COMMENT ON COLUMN internal.setting.changed_at IS
    'When the value changed: a write side may not know it for a minute';

DROP FUNCTION IF EXISTS internal.refresh_start(text);
DROP FUNCTION IF EXISTS internal.apply_retention(text);
DROP FUNCTION IF EXISTS internal.apply_compression(text);
