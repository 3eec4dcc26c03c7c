-- Calls a function of /rpc as `call.sql` does, for an answer that is expected to be short: one row and
-- one aggregate. Of more than @short_rows@ rows, or longer ones than @short_row_bytes@, nothing is
-- kept, and `piece` is NULL: it is to be asked in pieces.
@before@SELECT
  CASE
    WHEN pg_catalog.count(*) <= @short_rows@
      AND pg_catalog.max(pg_catalog.octet_length(a.body)) <= @short_row_bytes@
      AND pg_catalog.sum(pg_catalog.octet_length(a.body)) <= @whole_bytes@
    THEN @encode@pg_catalog.string_agg(
        CASE WHEN pg_catalog.octet_length(a.body) <= @short_row_bytes@ THEN a.body END, ''
      )@encoded@
  END AS piece,
  pg_catalog.count(*) AS rows,
  coalesce(pg_catalog.sum(pg_catalog.octet_length(a.body)), 0)::bigint AS bytes,
  (SELECT p.xmin::text FROM pg_catalog.pg_proc p WHERE p.oid = @oid@) AS version,
  @total@ AS total,
  pg_catalog.current_setting('response.status', true) AS status,
  pg_catalog.current_setting('response.headers', true) AS headers,
  pg_catalog.pg_advisory_unlock_all() AS unlocked
FROM (SELECT @between@ || @row@ AS body FROM (@result@) AS t LIMIT @short_rows@ + 1) AS a
