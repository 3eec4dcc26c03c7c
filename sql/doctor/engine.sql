-- What the database recorded at its first migration, and the extension as it is now.
SELECT (SELECT value FROM internal.setting WHERE key = 'engine') AS engine,
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS extension,
    current_setting('timescaledb.license', true) AS license,
    coalesce(current_setting('timescaledb.restoring', true), 'off') = 'on' AS is_restoring
