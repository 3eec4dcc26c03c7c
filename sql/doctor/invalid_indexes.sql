-- Indexes of our tables, their partitions and chunks, that no query can use.
SELECT i.indexrelid::regclass::text AS index, i.indrelid::regclass::text AS relation
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'i'
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready)
    AND n.nspname IN ('internal', 'cumsum', 'geo', 'app', '_timescaledb_internal')
ORDER BY 1
