-- Templates: files of sql/ that begin with "For each row of" a view, and are applied once for each; or
-- with "Once, filled in": views that readers use may not call what readers may not.

CREATE OR REPLACE FUNCTION internal.expand(p_template text, p_hooks jsonb)
RETURNS text
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_hooks jsonb := p_hooks || jsonb_build_object(
        'origin', to_char(internal.bucket_origin() AT TIME ZONE 'UTC', '''YYYY-MM-DD HH24:MI+00'''));
    v_sql   text := p_template;
    v_hook  text;
BEGIN
    -- What fills a hook may have hooks itself.
    LOOP
        v_hook := substring(v_sql FROM '@([a-z_]+)@');
        EXIT WHEN v_hook IS NULL;
        IF v_hooks ->> v_hook IS NULL THEN
            RAISE EXCEPTION 'nothing fills @%@', v_hook USING ERRCODE = 'undefined_parameter';
        END IF;
        v_sql := replace(v_sql, format('@%s@', v_hook), v_hooks ->> v_hook);
    END LOOP;
    RETURN v_sql;
END
$function$;
COMMENT ON FUNCTION internal.expand IS
    'A template with each @hook@ filled in, by name: columns of a row, pieces of sql/, and @origin@, the literal of internal.bucket_origin()';
