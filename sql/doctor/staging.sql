-- Staging tables: how large they have grown, and whether what is copied into them is moved on.
SELECT t.target,
    pg_relation_size(format('staging_%s.sample', t.target)::regclass) AS size_bytes,
    EXISTS (
        SELECT FROM pg_trigger g
        WHERE g.tgrelid = format('staging_%s.sample', t.target)::regclass
            AND g.tgname = 'move_samples' AND g.tgenabled IN ('O', 'A')
    ) AS is_moved_on
FROM internal.target t
ORDER BY t.target
