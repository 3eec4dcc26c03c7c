-- The indexes of each table of raw data: the primary key dedupes, the BRIN finds minutes. Measures
-- and events are found by their key, which begins with tenant and time, and need no BRIN.
SELECT format('%I.%I', s.target, s.name) AS relation,
    CASE
        WHEN s.name = 'exemplar' THEN 'series_id, time, value, labels_hash'
        WHEN s.target = 'app' THEN 'tenant_id, time, item_id'
        ELSE 'series_id, time'
    END AS key,
    s.name || '_time' AS brin,
    EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = format('%I.%I', s.target, s.name)::regclass AND i.indisprimary
    ) AS has_key,
    s.target = 'app' OR EXISTS (
        SELECT FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam
        WHERE i.indrelid = format('%I.%I', s.target, s.name)::regclass AND a.amname = 'brin'
    ) AS has_brin
FROM internal.store s
ORDER BY s.name <> 'sample', relation
