-- All before the position is stored.
INSERT INTO internal.import_progress (tenant_id, source, position, counts, finished_at)
VALUES ($1, $2, $3, $4::text::jsonb, CASE WHEN $5 THEN now() END)
ON CONFLICT (tenant_id, source) DO UPDATE SET
    position = excluded.position,
    counts = excluded.counts,
    started_at = CASE
        WHEN import_progress.finished_at IS NULL THEN import_progress.started_at ELSE now()
    END,
    updated_at = now(),
    finished_at = excluded.finished_at
