-- Engine postgres: native histograms are packed as samples are (blocks/pack_histograms.sql). The table
-- of rows becomes internal.histogram_row, beside which come blocks; internal.histogram is from now on a
-- view of both. What others made on the table follows it as 0015 does it for samples, or stops this
-- before anything has changed.

DROP FUNCTION IF EXISTS internal.histograms_and_bases(bigint[], timestamptz, timestamptz);

DO $histograms$
DECLARE
    v_ours     name := current_user;
    v_is_super boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = session_user);
    v_table    oid := 'internal.histogram'::regclass;
    v_stops    text[];
    v_views    jsonb;
    v_view     jsonb;
    v_each     record;
BEGIN
    LOCK TABLE internal.histogram IN ACCESS EXCLUSIVE MODE;
    SET LOCAL search_path = pg_catalog, pg_temp;  -- names are written with their schemas

    SELECT array_agg(DISTINCT stop ORDER BY stop) INTO v_stops
    FROM (
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
            AND d.refobjid = v_table
        UNION ALL
        SELECT format(
            'function %s: its body is bound to the table; make it again with its body as a string',
            d.objid::regprocedure)
        FROM pg_depend d
        WHERE d.classid = 'pg_proc'::regclass AND (
            d.refclassid = 'pg_class'::regclass AND d.refobjid = v_table
            OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
                SELECT unnest(ARRAY[t.oid, t.typarray]) FROM pg_type t WHERE t.typrelid = v_table))
        UNION ALL
        SELECT format('publication %I: ALTER PUBLICATION %1$I DROP TABLE %2$s;', p.pubname,
            r.prrelid::regclass)
        FROM pg_publication_rel r
        JOIN pg_publication p ON p.oid = r.prpubid
        WHERE r.prrelid = v_table OR EXISTS (
            SELECT FROM pg_inherits i WHERE i.inhrelid = r.prrelid AND i.inhparent = v_table)
        UNION ALL
        SELECT format('trigger %I: DROP TRIGGER %1$I ON %2$s;', t.tgname, t.tgrelid::regclass)
        FROM pg_trigger t
        WHERE t.tgrelid = v_table AND NOT t.tgisinternal
        UNION ALL
        SELECT format('policy %I: DROP POLICY %1$I ON %2$s;', p.polname, p.polrelid::regclass)
        FROM pg_policy p
        WHERE p.polrelid = v_table
        UNION ALL
        SELECT format('foreign key %I: ALTER TABLE %2$s DROP CONSTRAINT %1$I;', c.conname,
            c.conrelid::regclass)
        FROM pg_constraint c
        WHERE c.confrelid = v_table AND c.conparentid = 0
        UNION ALL
        SELECT format('column %I of %s has the type of rows of histograms: ALTER TABLE %2$s DROP COLUMN %1$I;',
            a.attname, a.attrelid::regclass)
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relkind IN ('r', 'p', 'f', 'm', 'c') AND a.atttypid IN (
            SELECT unnest(ARRAY[t.oid, t.typarray]) FROM pg_type t WHERE t.typrelid = v_table)
    ) AS found
    WHERE stop IS NOT NULL;
    IF v_stops IS NOT NULL THEN
        RAISE EXCEPTION 'nothing is changed: internal.histogram becomes a view, and this is made on the table: %',
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
        AND d.refobjid = v_table;

    ALTER TABLE internal.histogram RENAME TO histogram_row;
    ALTER INDEX IF EXISTS internal.histogram_pkey RENAME TO histogram_row_pkey;
    ALTER INDEX IF EXISTS internal.histogram_time RENAME TO histogram_row_time;
    FOR v_each IN
        SELECT relname AS name
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = v_table AND relname ~ '^histogram_p[0-9]{6}([0-9]{2})?$'
    LOOP
        EXECUTE format('ALTER TABLE internal.%I RENAME TO %I', v_each.name,
            replace(v_each.name, 'histogram_', 'histogram_row_'));
    END LOOP;
    CREATE VIEW internal.histogram AS SELECT * FROM internal.histogram_row;

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
        EXECUTE format('GRANT SELECT %s ON internal.histogram TO %s %s',
            '(' || quote_ident(v_each.attname) || ')',
            CASE v_each.grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(v_each.grantee)) END,
            CASE WHEN v_each.is_grantable THEN 'WITH GRANT OPTION' END);
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
$histograms$;

CREATE TABLE internal.histogram_block (
    series_id        bigint NOT NULL,
    first_time       timestamptz NOT NULL,
    last_time        timestamptz NOT NULL,
    histograms       int NOT NULL,
    step_us          bigint,
    times            timestamptz[],
    schema           smallint NOT NULL,
    is_float         boolean NOT NULL,
    is_stale         boolean NOT NULL,
    zero_threshold   float8 NOT NULL,
    reset_hint       smallint NOT NULL,
    start_time       timestamptz,
    custom_bounds    float8[],
    positive_indexes int[] NOT NULL,
    negative_indexes int[] NOT NULL,
    counts           float8[] NOT NULL,
    sums             float8[] NOT NULL,
    zero_counts      float8[] NOT NULL,
    positive_counts  float8[] NOT NULL,
    negative_counts  float8[] NOT NULL,
    exact_counts     numeric[],
    PRIMARY KEY (series_id, first_time)
);
CREATE INDEX histogram_block_time ON internal.histogram_block (last_time);

CREATE TABLE internal.histogram_packing (
    part          oid PRIMARY KEY,
    packed_before timestamptz NOT NULL,
    packed_series bigint,
    packed_rows   bigint,
    rows          bigint,
    since         timestamptz,
    waits_since   timestamptz
);

COMMENT ON TABLE internal.histogram_row IS
    'Native histograms of series of any target that are not packed; internal.histogram is all of them';
COMMENT ON TABLE internal.histogram_block IS
    'Neighbouring native histograms of one series, within six hours and of the same buckets, in one row; internal.histogram is all of them';
COMMENT ON COLUMN internal.histogram_block.histograms IS 'How many there are; no two blocks of a series overlap';
COMMENT ON COLUMN internal.histogram_block.step_us IS
    'Microseconds from one to the next; null: see times';
COMMENT ON COLUMN internal.histogram_block.times IS 'When they are of, where steps are irregular; else null';
COMMENT ON COLUMN internal.histogram_block.counts IS 'Column count of each, as are sums and zero_counts';
COMMENT ON COLUMN internal.histogram_block.positive_counts IS
    'Column positive_counts of each, one after the other';
COMMENT ON COLUMN internal.histogram_block.negative_counts IS
    'Column negative_counts of each, one after the other';
COMMENT ON COLUMN internal.histogram_block.exact_counts IS 'Of a histogram that has them, which is a block by itself';
COMMENT ON TABLE internal.histogram_packing IS 'How far the histograms of a partition are packed';
COMMENT ON COLUMN internal.histogram_packing.part IS 'The partition of internal.histogram_row';
COMMENT ON COLUMN internal.histogram_packing.packed_series IS
    'Of the six hours from packed_before on, series up to this one are packed, too';
COMMENT ON COLUMN internal.histogram_packing.packed_rows IS
    'Rows that the partition had taken in when none was left: later ones are late';
COMMENT ON COLUMN internal.histogram_packing.rows IS
    'Rows that it had taken in since the time since: whether somebody fills it';
COMMENT ON COLUMN internal.histogram_packing.waits_since IS 'Since when it is not packed because of that';
