-- What repeatable files made and is no longer there, or off.

CREATE OR REPLACE VIEW internal.missing_object AS
SELECT o.kind, o.name
FROM internal.object o
WHERE CASE o.kind
    WHEN 'routine' THEN to_regprocedure(o.name) IS NULL
    WHEN 'view' THEN to_regclass(o.name) IS NULL
    ELSE NOT EXISTS (
        SELECT FROM pg_trigger g
        JOIN pg_class c ON c.oid = g.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE format('%I on %I.%I', g.tgname, n.nspname, c.relname) = o.name
            AND g.tgenabled IN ('O', 'A'))
    END;
COMMENT ON VIEW internal.missing_object IS
    'Functions, views and triggers of ours that are gone, and triggers that are off: promgres migrate brings them back';

CREATE OR REPLACE FUNCTION internal.drop_objects(p_kinds text[], p_names text[])
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    v_left      text[];
    v_again     text[];
    v_statement text;
BEGIN
    SELECT coalesce(array_agg(format('DROP %s IF EXISTS %s', kind, name)), '{}') INTO v_left
    FROM unnest(p_kinds, p_names) AS o (kind, name);
    -- Those that stand on others of them go first, in as many rounds as it takes. Nothing goes that
    -- somebody else's view or function stands on: that is the error of the last round.
    WHILE v_left <> '{}' LOOP
        v_again := '{}';
        FOREACH v_statement IN ARRAY v_left LOOP
            BEGIN
                EXECUTE v_statement;
            EXCEPTION WHEN dependent_objects_still_exist THEN
                v_again := v_again || v_statement;
            END;
        END LOOP;
        IF v_again = v_left THEN
            EXECUTE v_left[1];
        END IF;
        v_left := v_again;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION internal.drop_objects IS
    'Drops functions, views and triggers by what internal.object says of them';
