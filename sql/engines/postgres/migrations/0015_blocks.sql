-- Engine postgres: the tables of rows become {target}.hot, beside which come blocks and late rows;
-- {target}.sample is from now on a view of all of them (samples.sql makes it again, with blocks).
--
-- What others made on the tables is bound to them and not to their names. Views are made again over
-- the new name, and so keep their owner, grants, columns, comment, and what stands on them. What
-- cannot follow stops the migration here, before anything has changed.

DO $blocks$
DECLARE
    v_ours   name := current_user;
    v_is_super boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = session_user);
    v_tables oid[] := ARRAY['internal.sample', 'cumsum.sample', 'geo.sample']::regclass[]::oid[];
    v_stops  text[];
    v_views  jsonb;
    v_view   jsonb;
    v_table  oid;
    v_schema text;
    v_each   record;
BEGIN
    -- One lock for all of it: nobody adds to what is found now. Writers come again.
    LOCK TABLE internal.sample, cumsum.sample, geo.sample IN ACCESS EXCLUSIVE MODE;
    SET LOCAL search_path = pg_catalog, pg_temp;  -- names are written with their schemas

    SELECT array_agg(DISTINCT stop ORDER BY stop) INTO v_stops
    FROM (
        -- Rules: of views, of materialised views, of tables.
        SELECT CASE
            WHEN c.relkind = 'm' THEN format(
                'materialized view %s: DROP MATERIALIZED VIEW %1$s; and make it again afterwards',
                c.oid::regclass)
            WHEN c.relkind = 'v' AND r.rulename = '_RETURN' THEN CASE
                WHEN c.reloptions::text ~ 'check_option' THEN format(
                    'view %s: ALTER VIEW %1$s RESET (check_option);', c.oid::regclass)
                WHEN NOT (v_is_super OR pg_has_role(session_user, c.relowner, 'MEMBER')) THEN format(
                    'view %s of %s: GRANT %2$I TO %3$I;', c.oid::regclass,
                    pg_get_userbyid(c.relowner), session_user)
                END
            ELSE format('rule %I: DROP RULE %1$I ON %2$s;', r.rulename, c.oid::regclass)
            END AS stop
        FROM pg_depend d
        JOIN pg_rewrite r ON r.oid = d.objid
        JOIN pg_class c ON c.oid = r.ev_class
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid = ANY (v_tables)
        UNION ALL
        SELECT format(
            'function %s: its body is bound to the table; make it again with its body as a string',
            d.objid::regprocedure)
        FROM pg_depend d
        WHERE d.classid = 'pg_proc'::regclass AND (
            d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (v_tables)
            OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
                SELECT unnest(ARRAY[t.oid, t.typarray]) FROM pg_type t WHERE t.typrelid = ANY (v_tables)))
        UNION ALL
        SELECT format('publication %I: ALTER PUBLICATION %1$I DROP TABLE %2$s;', p.pubname,
            r.prrelid::regclass)
        FROM pg_publication_rel r
        JOIN pg_publication p ON p.oid = r.prpubid
        WHERE r.prrelid = ANY (v_tables) OR EXISTS (
            SELECT FROM pg_inherits i WHERE i.inhrelid = r.prrelid AND i.inhparent = ANY (v_tables))
        UNION ALL
        SELECT format('trigger %I: DROP TRIGGER %1$I ON %2$s;', t.tgname, t.tgrelid::regclass)
        FROM pg_trigger t
        WHERE t.tgrelid = ANY (v_tables) AND NOT t.tgisinternal
        UNION ALL
        SELECT format('policy %I: DROP POLICY %1$I ON %2$s;', p.polname, p.polrelid::regclass)
        FROM pg_policy p
        WHERE p.polrelid = ANY (v_tables)
        UNION ALL
        SELECT format('foreign key %I: ALTER TABLE %2$s DROP CONSTRAINT %1$I;', c.conname,
            c.conrelid::regclass)
        FROM pg_constraint c
        WHERE c.confrelid = ANY (v_tables) AND c.conparentid = 0
        UNION ALL
        SELECT format('column %I of %s has the type of rows of samples: ALTER TABLE %2$s DROP COLUMN %1$I;',
            a.attname, a.attrelid::regclass)
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relkind IN ('r', 'p', 'f', 'm', 'c') AND a.atttypid IN (
            SELECT unnest(ARRAY[t.oid, t.typarray]) FROM pg_type t WHERE t.typrelid = ANY (v_tables))
    ) AS found
    WHERE stop IS NOT NULL;
    IF v_stops IS NOT NULL THEN
        RAISE EXCEPTION 'nothing is changed: internal.sample and its like become views, and this is made on the tables: %',
            array_to_string(v_stops, ' | ')
            USING ERRCODE = 'dependent_objects_still_exist';
    END IF;

    SELECT jsonb_agg(DISTINCT jsonb_build_object(
        'name', c.oid::regclass::text, 'owner', pg_get_userbyid(c.relowner),
        'options', ' WITH (' || array_to_string(c.reloptions, ', ') || ')',
        'text', pg_get_viewdef(c.oid)))
    INTO v_views
    FROM pg_depend d
    JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class c ON c.oid = r.ev_class
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = ANY (v_tables);

    FOREACH v_table IN ARRAY v_tables LOOP
        v_schema := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = v_table);
        EXECUTE format('ALTER TABLE %s.sample RENAME TO hot', v_schema);
        EXECUTE format('ALTER INDEX IF EXISTS %s.sample_pkey RENAME TO hot_pkey', v_schema);
        EXECUTE format('ALTER INDEX IF EXISTS %s.sample_time RENAME TO hot_time', v_schema);
        FOR v_each IN
            SELECT relname AS name
            FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE inhparent = v_table AND relname ~ '^sample_p[0-9]{6}([0-9]{2})?$'
        LOOP
            EXECUTE format('ALTER TABLE %s.%I RENAME TO %I', v_schema, v_each.name,
                replace(v_each.name, 'sample_', 'hot_'));
        END LOOP;
        EXECUTE format('CREATE VIEW %1$s.sample AS SELECT time, series_id, value, exact FROM %1$s.hot',
            v_schema);

        -- Who was let in by the name is let in by it.
        FOR v_each IN
            SELECT a.grantee, a.is_grantable, NULL::name AS attname
            FROM pg_class c, aclexplode(c.relacl) AS a
            WHERE c.oid = v_table AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
            UNION ALL
            SELECT a.grantee, a.is_grantable, t.attname
            FROM pg_attribute t, aclexplode(t.attacl) AS a
            WHERE t.attrelid = v_table AND a.privilege_type = 'SELECT'
        LOOP
            EXECUTE format('GRANT SELECT %s ON %s.sample TO %s %s',
                '(' || quote_ident(v_each.attname) || ')', v_schema,
                CASE v_each.grantee WHEN 0 THEN 'PUBLIC'
                    ELSE quote_ident(pg_get_userbyid(v_each.grantee)) END,
                CASE WHEN v_each.is_grantable THEN 'WITH GRANT OPTION' END);
        END LOOP;
    END LOOP;

    FOR v_view IN SELECT * FROM jsonb_array_elements(v_views) LOOP
        BEGIN
            IF v_is_super THEN
                RESET ROLE;
            ELSE
                EXECUTE format('SET LOCAL ROLE %I', v_view ->> 'owner');
            END IF;
            EXECUTE format('CREATE OR REPLACE VIEW %s%s AS %s',
                v_view ->> 'name', v_view ->> 'options', v_view ->> 'text');
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION 'nothing is changed: view % reads what only a table has (%): DROP VIEW %; and make it again afterwards',
                v_view ->> 'name', SQLERRM, v_view ->> 'name'
                USING ERRCODE = 'dependent_objects_still_exist';
        END;
        EXECUTE format('SET LOCAL ROLE %I', v_ours);
    END LOOP;
    RESET search_path;
END
$blocks$;

CREATE TABLE internal.late (LIKE internal.hot, PRIMARY KEY (series_id, time))
    PARTITION BY RANGE (time);
CREATE INDEX late_time ON internal.late USING brin (time) WITH (autosummarize = on);
CREATE TABLE cumsum.late (LIKE internal.hot, PRIMARY KEY (series_id, time))
    PARTITION BY RANGE (time);
CREATE INDEX late_time ON cumsum.late USING brin (time) WITH (autosummarize = on);
CREATE TABLE geo.late (LIKE internal.hot, PRIMARY KEY (series_id, time))
    PARTITION BY RANGE (time);
CREATE INDEX late_time ON geo.late USING brin (time) WITH (autosummarize = on);

CREATE TABLE internal.block (
    series_id  bigint NOT NULL,
    first_time timestamptz NOT NULL,
    last_time  timestamptz NOT NULL,
    count      int NOT NULL,
    step_ms    int,
    steps      int[],
    value      float8[] NOT NULL,
    exact      numeric[],
    PRIMARY KEY (series_id, first_time)
) PARTITION BY RANGE (first_time);
-- Blocks that are longer than six hours, by which they are told from those that are not: few series
-- have them, and a period is looked for a week before it.
CREATE INDEX block_long ON internal.block (series_id, first_time)
    WHERE date_bin('6 hours', last_time, '2000-01-03 00:00+00') > first_time;
CREATE TABLE cumsum.block (LIKE internal.block INCLUDING INDEXES) PARTITION BY RANGE (first_time);
CREATE TABLE geo.block (LIKE internal.block INCLUDING INDEXES) PARTITION BY RANGE (first_time);

CREATE TABLE internal.packed (
    target        text PRIMARY KEY REFERENCES internal.target,
    closed_before timestamptz NOT NULL DEFAULT '-infinity',
    packed_before timestamptz NOT NULL DEFAULT '-infinity',
    packing_from  timestamptz,
    packed_series bigint,
    joined_before timestamptz NOT NULL DEFAULT '-infinity',
    old_rows      bigint,
    old_since     timestamptz,
    old_waits_since timestamptz,
    late_rows     bigint,
    late_since    timestamptz,
    CHECK (packed_before <= closed_before)
);
INSERT INTO internal.packed (target) SELECT target FROM internal.target
    WHERE target IN ('internal', 'cumsum', 'geo');

CREATE TABLE internal.retired (
    target      text NOT NULL REFERENCES internal.target,
    name        text NOT NULL,
    retired_at  timestamptz NOT NULL DEFAULT now(),
    rounds      int NOT NULL DEFAULT 0,
    waits_for   text[],
    PRIMARY KEY (target, name)
);

CREATE TABLE internal.fresh (
    target    text NOT NULL REFERENCES internal.target,
    name      text NOT NULL,
    waits_for text[],
    PRIMARY KEY (target, name)
);

COMMENT ON TABLE internal.hot IS 'Newest samples of target internal as rows; internal.sample is all of them';
COMMENT ON TABLE cumsum.hot IS 'Newest samples of target cumsum as rows; cumsum.sample is all of them';
COMMENT ON TABLE geo.hot IS 'Newest samples of target geo as rows; geo.sample is all of them';
COMMENT ON TABLE internal.late IS
    'Samples of target internal that came after their time was closed, or at fractions of a millisecond; internal.sample is all of them';
COMMENT ON TABLE cumsum.late IS 'As internal.late, of target cumsum';
COMMENT ON TABLE geo.late IS 'As internal.late, of target geo';
COMMENT ON TABLE internal.block IS
    'Samples of one series in six hours (a day or a week, if they are few) in one row; internal.sample is all of them';
COMMENT ON COLUMN internal.block.step_ms IS 'Milliseconds from one sample to the next; null: see steps';
COMMENT ON COLUMN internal.block.steps IS
    'Milliseconds from the sample before, the first being 0; parallel to value';
COMMENT ON COLUMN internal.block.exact IS 'Parallel to value; null where no sample has one';
COMMENT ON TABLE cumsum.block IS 'As internal.block, of target cumsum';
COMMENT ON TABLE geo.block IS 'As internal.block, of target geo';
COMMENT ON TABLE internal.packed IS
    'Which samples are where. Who locks a row may close, pack and drop what is that target''s';
COMMENT ON COLUMN internal.packed.closed_before IS
    'Partitions of hot rows before this take no rows any more: those go to late';
COMMENT ON COLUMN internal.packed.packed_before IS
    'Samples before this are read from blocks and from late, all others from hot and from late';
COMMENT ON COLUMN internal.packed.packing_from IS
    'Of the six hours from here on some series are in blocks already, which nobody reads yet';
COMMENT ON COLUMN internal.packed.packed_series IS 'The last one of them; null: none';
COMMENT ON COLUMN internal.packed.joined_before IS
    'Blocks before this are as long as they should be';
COMMENT ON COLUMN internal.packed.old_rows IS
    'Rows that open partitions of the past had taken in since old_since: whether somebody fills them';
COMMENT ON COLUMN internal.packed.old_waits_since IS
    'Since when they are not closed because of it';
COMMENT ON COLUMN internal.packed.late_rows IS 'The same of late rows, since late_since';
COMMENT ON TABLE internal.retired IS
    'Partitions whose rows are in blocks, and the transactions that may still read them there';
COMMENT ON COLUMN internal.retired.waits_for IS
    'Virtual transaction ids that were there when it was looked; null: look';
COMMENT ON TABLE internal.fresh IS
    'Partitions that transactions which are under way may not know of: no rows are moved into them yet';
COMMENT ON COLUMN internal.fresh.waits_for IS 'As in internal.retired';
