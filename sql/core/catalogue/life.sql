-- Whether what a writer remembers still holds. It is asked by the statement that ends a transaction, so
-- it costs no round trip; a "no" is an error of that transaction, after which nothing of it is stored.
--
-- A life is told by what no dump and no standby carries along (the cluster, its timeline, OIDs) and by
-- the newest row of internal.life, which whoever removes something replaces. A copy of the disk that
-- is put back carries all of that: it is told by the writer's own mark, which is older there.

CREATE OR REPLACE FUNCTION internal.life_lock()
RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$ SELECT 7306093857422157926 $$;
COMMENT ON FUNCTION internal.life_lock IS
    'Advisory lock: shared while a transaction that relied on a memory ends, exclusive while a life ends';

-- Of any one session the cluster and the database stay the same: a writer looks at them when it connects
-- (the cluster's number is in a file), at all else each time.
CREATE OR REPLACE FUNCTION internal.life_here(p_life uuid)
RETURNS text
LANGUAGE sql
AS $$
    SELECT concat_ws(' ', left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
        'internal.series'::regclass::oid, 'internal.life'::regclass::oid, p_life)
$$;
COMMENT ON FUNCTION internal.life_here IS
    'A life as far as a session may see it change: timeline, OIDs of tables, row of internal.life';

CREATE OR REPLACE FUNCTION internal.life_of_data()
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    v_cluster text;
BEGIN
    BEGIN
        v_cluster := (SELECT system_identifier FROM pg_control_system());
    EXCEPTION WHEN insufficient_privilege THEN
        v_cluster := '-';
    END;
    RETURN concat_ws(' ', v_cluster,
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        internal.life_here((SELECT life FROM internal.life ORDER BY number DESC LIMIT 1)));
END
$$;
COMMENT ON FUNCTION internal.life_of_data IS
    'This life of the data, as text: cluster, database, and what internal.life_here() says';

CREATE OR REPLACE VIEW internal.writer_here AS
SELECT w.writer, w.mark,
    internal.life_here((SELECT life FROM internal.life ORDER BY number DESC LIMIT 1)) AS life_here
FROM internal.writer AS w;
COMMENT ON VIEW internal.writer_here IS
    'Writers, and this life as life_here() has it: what a transaction that relied on a memory looks at before it ends';

-- A batch of samples pays for it: no other function, no settings of its own, and no second statement,
-- each of which costs more than what it looks up.
CREATE OR REPLACE PROCEDURE internal.end_writing(
    p_writer uuid, p_mark bigint, p_life_here text, p_new_mark bigint DEFAULT NULL
)
LANGUAGE plpgsql
AS $$
BEGIN
    -- Held until the commit is done: who ends a life waits for it, and then sees what it has stored.
    PERFORM pg_advisory_xact_lock_shared(internal.life_lock());
    IF NOT EXISTS (
        SELECT FROM internal.writer_here AS w
        WHERE w.writer = p_writer AND w.mark >= p_mark AND w.life_here = p_life_here
    ) THEN
        RAISE EXCEPTION 'the data is not what its writer remembers' USING ERRCODE = 'PL001';
    END IF;
    -- It counts: of two such transactions the later one waits for the earlier one's commit, so a copy of
    -- the disk that lacks one of those that were acknowledged has a smaller number, in whatever order.
    IF p_new_mark IS NOT NULL THEN
        UPDATE internal.writer SET mark = greatest(mark + 1, p_new_mark), marked_at = now()
        WHERE writer = p_writer;
    END IF;
END
$$;
COMMENT ON PROCEDURE internal.end_writing IS
    'The last statement of a transaction that relied on a memory: an error, PL001, if it no longer holds. With p_new_mark something is remembered from now on: the mark grows by one, and to that at least';

CREATE OR REPLACE FUNCTION internal.life_since(
    p_writer uuid, p_mark bigint, p_life text,
    OUT life text, OUT ended_series bigint[], OUT ended_samples boolean
)
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT now_.life, CASE
        WHEN known.number IS NOT NULL
            AND left(now_.life, -36) = left(p_life, -36)  -- but for the uuid
            AND EXISTS (SELECT FROM internal.writer WHERE writer = p_writer AND mark >= p_mark)
            AND NOT EXISTS (
                SELECT FROM internal.life l
                WHERE l.number > known.number AND l.ended_series IS NULL
            )
        THEN ARRAY(
            SELECT unnest(l.ended_series) FROM internal.life l WHERE l.number > known.number
        )
        END,
        EXISTS (
            SELECT FROM internal.life l WHERE l.number > known.number AND l.ended_samples
        )
    FROM (SELECT internal.life_of_data() AS life) AS now_
    LEFT JOIN internal.life AS known ON known.life::text = right(p_life, 36)
$$;
COMMENT ON FUNCTION internal.life_since IS
    'This life, which ids ended since the one that a writer knows, and whether samples did; null: it is to forget everything';

CREATE OR REPLACE FUNCTION internal.enrol_writer(p_writer uuid)
RETURNS text
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO internal.writer (writer, mark) VALUES (p_writer, 0);
    SELECT internal.life_of_data();
$$;
COMMENT ON FUNCTION internal.enrol_writer IS
    'A writer that remembers nothing yet; returns the life that it begins in';

-- Whoever takes ids away by hand ends a life, too.
CREATE OR REPLACE FUNCTION internal.note_deleted_series()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('promgres.removes_doomed', true) = 'yes' THEN
        RETURN NULL;  -- nobody remembers those
    END IF;
    IF NOT EXISTS (SELECT FROM gone) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(internal.life_lock());
    INSERT INTO internal.life (ended_series)
    SELECT array_agg(series_id) FROM gone HAVING count(*) <= 100000;
    IF NOT FOUND THEN
        INSERT INTO internal.life DEFAULT VALUES;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION internal.note_deleted_series IS
    'Ends a life when series are deleted by hand, and names them';

CREATE OR REPLACE TRIGGER note_deleted_series
    AFTER DELETE ON internal.series
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION internal.note_deleted_series();

CREATE OR REPLACE FUNCTION internal.end_life()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(internal.life_lock());
    INSERT INTO internal.life DEFAULT VALUES;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION internal.end_life IS
    'Ends a life: whoever remembers something of the data forgets all of it';

CREATE OR REPLACE TRIGGER end_life
    AFTER TRUNCATE ON internal.series
    FOR EACH STATEMENT EXECUTE FUNCTION internal.end_life();

-- Whoever takes samples away, or changes them, ends a life when that is committed: a transaction that
-- goes on for long after its DELETE must not keep writers waiting.
CREATE OR REPLACE FUNCTION internal.note_changed_samples()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('promgres.moves_samples', true) IS DISTINCT FROM 'yes' THEN
        INSERT INTO internal.life_ending (transaction) VALUES (pg_current_xact_id())
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION internal.note_changed_samples IS
    'The trigger of tables of samples, and of their partitions: a life ends, unless packing moves them (the setting promgres.moves_samples)';

CREATE OR REPLACE FUNCTION internal.end_life_of_samples()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(internal.life_lock());
    INSERT INTO internal.life (ended_series, ended_samples) VALUES ('{}', true);
    DELETE FROM internal.life_ending WHERE transaction = NEW.transaction;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION internal.end_life_of_samples IS
    'Ends a life at the commit of a transaction that has taken samples away';

DROP TRIGGER IF EXISTS end_life_of_samples ON internal.life_ending;
CREATE CONSTRAINT TRIGGER end_life_of_samples
    AFTER INSERT ON internal.life_ending
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION internal.end_life_of_samples();
