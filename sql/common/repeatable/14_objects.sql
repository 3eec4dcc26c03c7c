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
