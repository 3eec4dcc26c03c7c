-- How far each `promgres import` is, so that one that was killed goes on where it was.

CREATE TABLE internal.import_progress (
    tenant_id   int NOT NULL,
    source      text COLLATE "C" NOT NULL,
    position    text NOT NULL,
    counts      jsonb NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, source)
);
COMMENT ON TABLE internal.import_progress IS
    'How far each promgres import is; one that has finished begins anew when it is started again';
COMMENT ON COLUMN internal.import_progress.source IS
    'Which part of which source, and what was asked of it: never a password';
COMMENT ON COLUMN internal.import_progress.position IS
    'All before it is stored: a time, an id or a place in a file, as the source has it';
COMMENT ON COLUMN internal.import_progress.counts IS
    'Rows read, stored, present (they were there already) and left_out (by reason) so far';
