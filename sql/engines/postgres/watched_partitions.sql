-- Partitions that an earlier version made: see internal.watch_partition. No record is kept of their
-- triggers, which go with them.

SELECT internal.watch_partition(i.inhrelid)
FROM internal.sample_target AS s
CROSS JOIN (VALUES ('hot'), ('late'), ('block'), ('long_block')) AS t (name)
JOIN pg_inherits AS i ON i.inhparent = format('%I.%I', s.target, t.name)::regclass
WHERE NOT EXISTS (
    SELECT FROM pg_trigger AS g
    WHERE g.tgrelid = i.inhrelid AND g.tgname = 'note_changed_samples');
