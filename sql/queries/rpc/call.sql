-- Calls a function of /rpc and has PostgreSQL write the body of the answer: whole, if it has at most
-- @whole_bytes@, else in pieces of rows, and of rows that are too long by themselves. Bytes, whatever
-- the client's encoding is (@encode@ … @encoded@ make them of text): they are passed on unread.
--
-- Locks that the function took for its session end here: that costs less than a statement after it.
--
-- @row@ is a row of the @result@ t, as text, @between@ what stands between two of them; @total@ is how
-- many rows there are besides a page of them, counted in what stands @before@.
WITH @before@_promgres_answer AS MATERIALIZED (
  SELECT @between@ || @row@ AS body FROM (@result@) AS t
), _promgres_about AS MATERIALIZED (
  SELECT pg_catalog.count(*) AS rows,
    coalesce(pg_catalog.sum(pg_catalog.octet_length(body)), 0)::bigint AS bytes,
    pg_catalog.max(pg_catalog.octet_length(body)) AS longest
  FROM _promgres_answer
)
SELECT CASE WHEN bytes <= @whole_bytes@ THEN
    (SELECT @encode@pg_catalog.string_agg(body, '')@encoded@ FROM _promgres_answer)
  END AS piece, rows, bytes,
  (SELECT p.xmin::text FROM pg_catalog.pg_proc p WHERE p.oid = @oid@) AS version,
  @total@ AS total,
  pg_catalog.current_setting('response.status', true) AS status,
  pg_catalog.current_setting('response.headers', true) AS headers,
  pg_catalog.pg_advisory_unlock_all() AS unlocked
FROM _promgres_about
UNION ALL
SELECT @encode@body@encoded@, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM _promgres_answer
WHERE (SELECT bytes > @whole_bytes@ AND longest <= @piece_bytes@ FROM _promgres_about)
UNION ALL
SELECT pg_catalog.unnest(
    ARRAY(
      SELECT CASE WHEN k = 1 THEN '' ELSE '+' END::bytea || pg_catalog.substr(b, k, @piece_bytes@)
      FROM pg_catalog.generate_series(1, pg_catalog.octet_length(b), @piece_bytes@) AS k
    )
  ), NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM (SELECT @encode@body@encoded@ AS b FROM _promgres_answer OFFSET 0) AS a
WHERE (SELECT bytes > @whole_bytes@ AND longest > @piece_bytes@ FROM _promgres_about)
