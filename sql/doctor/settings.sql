-- Settings of this session, and where each value comes from.
-- $1: names.
SELECT name, setting, source FROM pg_settings WHERE name = ANY ($1::text[])
