-- Engine postgres: writers remember which marks of late samples stand. A sequence says how often marks
-- were taken away: what it says is seen at once by everybody, before a commit, and never again.

CREATE SEQUENCE internal.marks_taken;
SELECT nextval('internal.marks_taken');  -- the first call alone would leave last_value as it is
COMMENT ON SEQUENCE internal.marks_taken IS
    'How often marks of rollups were taken away; see internal.mark_late';
