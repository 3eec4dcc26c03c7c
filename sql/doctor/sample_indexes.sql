-- The two indexes of each sample table: the primary key dedupes, the BRIN finds minutes.
SELECT t.target,
    EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = format('%I.sample', t.target)::regclass AND i.indisprimary
    ) AS has_key,
    EXISTS (
        SELECT FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam
        WHERE i.indrelid = format('%I.sample', t.target)::regclass AND a.amname = 'brin'
    ) AS has_brin
FROM internal.target t
ORDER BY t.target
