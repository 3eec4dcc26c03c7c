-- Since when each series is there: what api.cardinality tells of new ones.

-- Two statements: a default that came with the column would say "now" of all that were there before.
ALTER TABLE internal.series ADD COLUMN created_at timestamptz;
ALTER TABLE internal.series ALTER COLUMN created_at SET DEFAULT now();
COMMENT ON COLUMN internal.series.created_at IS
    'When the series was first stored; null for those that are older than this column';
