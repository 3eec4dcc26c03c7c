-- Schemas that `promgres migrate --beside-old-stack` has renamed: their name before, their name now,
-- and the jobs that it stopped (in the comment of one of them).
SELECT substring(d.description FROM '^Renamed from (\w+) ') AS was, n.nspname::text AS now,
    coalesce(substring(d.description FROM 'jobs stopped: ([0-9 ]+)'), '') AS jobs
FROM pg_namespace n
JOIN pg_description d ON d.objoid = n.oid AND d.classoid = 'pg_namespace'::regclass
WHERE d.description ~ '^Renamed from \w+ by promgres migrate'
ORDER BY now
