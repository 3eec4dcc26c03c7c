-- The indexes of each table of raw data: the primary key dedupes, the BRIN finds minutes. Measures
-- and events are found by their key, which begins with tenant and time, and need no BRIN. On engine
-- postgres rows of samples, and of histograms, stand in a table of another name.
SELECT format('%I.%I', s.target, s.relation) AS relation,
    CASE
        WHEN s.name = 'exemplar' THEN 'series_id, time, value, labels_hash'
        WHEN s.target = 'app' THEN 'tenant_id, time, item_id'
        ELSE 'series_id, time'
    END AS key,
    s.relation || '_time' AS brin,
    EXISTS (
        SELECT FROM pg_index i WHERE i.indrelid = s.id AND i.indisprimary
    ) AS has_key,
    s.target = 'app' OR EXISTS (
        SELECT FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam
        WHERE i.indrelid = s.id AND a.amname = 'brin'
    ) AS has_brin
FROM (
    SELECT store.target, store.name, coalesce(rows.relname, store.name) AS relation,
        coalesce(rows.oid, to_regclass(format('%I.%I', store.target, store.name))) AS id
    FROM internal.store
    LEFT JOIN pg_class rows ON rows.relnamespace = to_regnamespace(store.target)
        AND (store.name, rows.relname) IN (('sample', 'hot'), ('histogram', 'histogram_row'))
) AS s
ORDER BY s.name <> 'sample', relation
