-- For each row of internal.sample_target: who takes samples away by hand ends a life, see
-- core/catalogue/life.sql; partitions have the same trigger (partitions.sql).

CREATE OR REPLACE TRIGGER note_changed_samples
    AFTER DELETE OR UPDATE OR TRUNCATE ON @target@.hot
    FOR EACH STATEMENT EXECUTE FUNCTION internal.note_changed_samples();
CREATE OR REPLACE TRIGGER note_changed_samples
    AFTER DELETE OR UPDATE OR TRUNCATE ON @target@.late
    FOR EACH STATEMENT EXECUTE FUNCTION internal.note_changed_samples();
CREATE OR REPLACE TRIGGER note_changed_samples
    AFTER DELETE OR UPDATE OR TRUNCATE ON @target@.block
    FOR EACH STATEMENT EXECUTE FUNCTION internal.note_changed_samples();
CREATE OR REPLACE TRIGGER note_changed_samples
    AFTER DELETE OR UPDATE OR TRUNCATE ON @target@.long_block
    FOR EACH STATEMENT EXECUTE FUNCTION internal.note_changed_samples();
