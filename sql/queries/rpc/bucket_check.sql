-- How wide the buckets are that a call asks for, how long the period is of which it asks them, both in
-- seconds, and how many rows make a page. Of an endless period that part counts in which samples may be.
SELECT extract(epoch FROM e.width)::float8 AS width,
  extract(epoch FROM least(e.until, now() + interval '10 minutes'))::float8
  - extract(epoch FROM greatest(e.since, timestamptz '2000-01-01Z'))::float8 AS span, e.page
FROM (
  SELECT (@width@)::interval AS width, (@since@)::timestamptz AS since,
    (@until@)::timestamptz AS until, (@page@)::numeric AS page
  @source@
) AS e
