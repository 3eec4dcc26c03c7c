-- Which tables rows are moved into from staging, and how: what move.sql is made for.

CREATE OR REPLACE VIEW internal.staging_way
    (target, name, move, columns, source, before, rows, after, rows_into) AS
SELECT s.target, s.name, 'move_' || s.name || 's',
    string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
    string_agg(
        CASE a.attname
            WHEN 'labels_hash' THEN 'jsonb_hash_extended(labels, 0)'
            ELSE quote_ident(a.attname)
        END, ', ' ORDER BY a.attnum),
    CASE WHEN s.target = 'app' THEN '@idempotency@'
        WHEN s.name = 'histogram' THEN '@late_histograms@' ELSE '' END,
    CASE WHEN s.target = 'app' THEN '@first_of_key@'
        WHEN s.name = 'sample' THEN '@open_rows@'
        WHEN s.name = 'histogram' THEN '@new_histograms@' ELSE '' END,
    concat(
        CASE WHEN s.name = 'sample' THEN '@late_rows@' END,
        CASE WHEN s.name = 'sample' AND s.target = ANY (internal.rolled_up_targets())
            THEN '@mark@@mark_hours@' END),
    CASE s.name WHEN 'sample' THEN '@sample_rows@' WHEN 'histogram' THEN '@histogram_rows@'
        ELSE s.name END
FROM internal.store AS s
JOIN pg_attribute AS a ON a.attrelid = format('%I.%I', s.target, s.name)::regclass
WHERE a.attnum > 0 AND NOT a.attisdropped
GROUP BY s.target, s.name;
COMMENT ON VIEW internal.staging_way IS
    'Tables of internal.store: their columns, what of staging fills them, the pieces of SQL that come before, among and after, and the table that takes the rows';
