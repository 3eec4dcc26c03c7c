-- Whether a batch could be written now: all that a transaction of the writers needs but rows. It fails
-- in a database that only reads, without the tables or their trigger's rights, where somebody holds
-- them, and where the commit does not get to disk.
SET LOCAL synchronous_commit = on;
SET LOCAL lock_timeout = '1s';
INSERT INTO staging_internal.sample (series_id) SELECT 0 WHERE false;
SELECT pg_logical_emit_message(true, 'promgres', 'ready');
