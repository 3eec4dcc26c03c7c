-- What the read API asks of the database besides calling functions of schema api.

-- The id behind a token's claim `tenant`; no row for a name that does not exist. The read side's
-- login cannot read app.tenant, and learns nothing here but the id of a name that it was given.
CREATE OR REPLACE FUNCTION internal.tenant_id_of(p_name text) RETURNS int
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT tenant_id FROM app.tenant WHERE name = p_name $$;

-- Everything /rpc needs to know, as one document:
--   functions: every callable function of schema api (each input argument named, no pseudo-types),
--     `version` changes whenever the definition or the grants of a function do;
--     result: void | scalar | row (its columns are known) | record (they are not);
--     arguments: inputs in declared order, types spelled so that any search_path finds them;
--   roles: whom a request may become.
-- One json, so that a later version can tell more without a new signature.
CREATE OR REPLACE FUNCTION internal.api_catalogue() RETURNS json
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  WITH candidate AS (
    SELECT p.oid AS id, p.xmin, p.proname, p.provolatile, p.proretset, p.prorettype,
           p.pronargs - p.pronargdefaults AS required,
           coalesce(p.proallargtypes, p.proargtypes::oid[]) AS types, p.proargmodes, p.proargnames
    FROM pg_proc p
    WHERE p.pronamespace = to_regnamespace('api') AND p.prokind = 'f'
  ), argument AS (
    SELECT c.id, a.position, a.name, a.type, coalesce(a.mode, 'i') AS mode
    FROM candidate c,
         unnest(c.types, c.proargmodes, c.proargnames) WITH ORDINALITY AS a(type, mode, name, position)
  ), input AS (
    SELECT a.id,
           json_agg(json_build_object(
             'name', a.name,
             'type', format_type(a.type, NULL),
             'required', a.number <= c.required,
             'variadic', a.mode = 'v'
           ) ORDER BY a.number) AS arguments,
           bool_and(coalesce(a.name, '') <> '' AND t.typtype <> 'p') AS callable
    FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY position) AS number
          FROM argument WHERE mode IN ('i', 'b', 'v')) AS a
    JOIN candidate c USING (id)
    JOIN pg_type t ON t.oid = a.type
    GROUP BY a.id
  ), output AS (
    SELECT id, json_agg(name ORDER BY position) AS columns
    FROM argument WHERE mode IN ('o', 'b', 't')
    GROUP BY id
  ), attribute AS (
    SELECT t.oid AS type, json_agg(a.attname ORDER BY a.attnum) AS columns
    FROM pg_type t
    JOIN pg_type base ON base.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
    JOIN pg_attribute a ON a.attrelid = base.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE t.oid IN (SELECT prorettype FROM candidate) AND base.typtype = 'c'
    GROUP BY t.oid
  ), exposed AS (
    SELECT c.proname, json_build_object(
             'id', c.id::int8,
             'version', c.xmin::text,
             'name', c.proname,
             'comment', obj_description(c.id, 'pg_proc'),
             'volatile', c.provolatile = 'v',
             'set', c.proretset,
             'result', CASE
               WHEN c.prorettype = 'void'::regtype THEN 'void'
               WHEN coalesce(output.columns, attribute.columns) IS NOT NULL THEN 'row'
               WHEN c.prorettype = 'record'::regtype THEN 'record'
               ELSE 'scalar'
             END,
             'columns', coalesce(output.columns, attribute.columns, '[]'),
             'arguments', coalesce(input.arguments, '[]')
           ) AS description
    FROM candidate c
    JOIN pg_type r ON r.oid = c.prorettype
    LEFT JOIN input USING (id)
    LEFT JOIN output USING (id)
    LEFT JOIN attribute ON attribute.type = c.prorettype
    WHERE coalesce(input.callable, true)
      AND (r.typtype <> 'p' OR c.prorettype IN ('void'::regtype, 'record'::regtype))
  )
  SELECT json_build_object(
    'functions', (SELECT coalesce(json_agg(description ORDER BY proname), '[]') FROM exposed),
    'roles', (
      SELECT coalesce(json_agg(DISTINCT granted.rolname), '[]')
      FROM pg_auth_members m
      JOIN pg_roles holder ON holder.oid = m.member AND holder.rolname = 'authenticator'
      JOIN pg_roles granted ON granted.oid = m.roleid AND NOT granted.rolsuper
    )
  )
$$;

REVOKE ALL ON FUNCTION internal.tenant_id_of(text), internal.api_catalogue() FROM PUBLIC;
GRANT USAGE ON SCHEMA internal TO authenticator, promgres_api;
GRANT EXECUTE ON FUNCTION internal.tenant_id_of(text), internal.api_catalogue()
  TO authenticator, promgres_api;
