-- The two indexes of each table of raw data: the primary key dedupes, the BRIN finds minutes.
SELECT format('%I.%I', s.target, s.name) AS relation,
    CASE s.name WHEN 'exemplar' THEN 'series_id, time, value, labels_hash' ELSE 'series_id, time' END
        AS key,
    s.name || '_time' AS brin,
    EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = format('%I.%I', s.target, s.name)::regclass AND i.indisprimary
    ) AS has_key,
    EXISTS (
        SELECT FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam
        WHERE i.indrelid = format('%I.%I', s.target, s.name)::regclass AND a.amname = 'brin'
    ) AS has_brin
FROM internal.store s
ORDER BY s.name <> 'sample', relation
