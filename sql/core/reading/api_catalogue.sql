-- What the read API asks of the database besides calling functions of schema api.

-- The id behind a token's claim `tenant`; no row for a name that does not exist. The read side's
-- login cannot read app.tenant, and learns nothing here but the id of a name that it was given.
CREATE OR REPLACE FUNCTION internal.tenant_id_of(p_name text) RETURNS int
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT tenant_id FROM app.tenant WHERE name = p_name $$;

-- Everything /rpc needs to know, as one document:
--   functions: every callable function of the schemas that are named (each input argument named, no
--     pseudo-types; or a single argument without a name, of a type that a body can be),
--     `version` changes whenever the definition or the grants of a function do;
--     result: void | scalar | row (its columns are known) | record (they are not); a composite
--       type has its own columns, also where it is the type of the only result column;
--     type, types: of the result, and of each column;
--     arguments: inputs in declared order, types and defaults spelled so that any search_path finds
--       them;
--     settings: as ALTER FUNCTION … SET made them;
--   roles: whom a request may become.
-- One json, so that a later version can tell more without a new signature.
CREATE OR REPLACE FUNCTION internal.api_catalogue_of(p_schemas text[]) RETURNS json
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
AS $$
  WITH exposed AS (
    SELECT p.proname, json_build_object(
             'id', p.oid::int8,
             'version', p.xmin::text,
             'schema', n.nspname,
             'name', p.proname,
             'comment', obj_description(p.oid, 'pg_proc'),
             'volatile', p.provolatile = 'v',
             'set', p.proretset,
             'result', CASE
               WHEN p.prorettype = 'void'::regtype THEN 'void'
               WHEN coalesce(attribute.columns, argument.columns) IS NOT NULL THEN 'row'
               WHEN p.prorettype = 'record'::regtype THEN 'record'
               ELSE 'scalar'
             END,
             'type', format_type(p.prorettype, NULL),
             'columns', coalesce(attribute.columns, argument.columns, '[]'),
             'types', coalesce(attribute.types, argument.types, '[]'),
             'settings', coalesce(p.proconfig, '{}'),
             'arguments', coalesce(argument.inputs, '[]')
           ) AS description
    FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_type result ON result.oid = p.prorettype
    JOIN pg_type base
      ON base.oid = CASE result.typtype WHEN 'd' THEN result.typbasetype ELSE result.oid END
    CROSS JOIN LATERAL (
      SELECT json_agg(json_build_object(
               'name', a.name,
               'type', format_type(a.type, NULL),
               'required', a.number <= p.pronargs - p.pronargdefaults,
               'variadic', a.mode = 'v',
               'default', pg_get_function_arg_default(p.oid, a.position::int)
             ) ORDER BY a.position) FILTER (WHERE a.is_input) AS inputs,
             json_agg(a.name ORDER BY a.position) FILTER (WHERE a.mode IN ('o', 'b', 't')) AS columns,
             json_agg(format_type(a.type, NULL) ORDER BY a.position)
               FILTER (WHERE a.mode IN ('o', 'b', 't')) AS types,
             coalesce(bool_and(a.name <> '' AND a.kind <> 'p') FILTER (WHERE a.is_input), true)
               OR p.pronargs = 1 AND bool_and(
                 a.mode = 'i'
                 AND a.type IN ('json'::regtype, 'jsonb'::regtype, 'text'::regtype, 'xml'::regtype,
                   'bytea'::regtype)
               ) FILTER (WHERE a.is_input) AS is_callable
      FROM (
        SELECT u.position, coalesce(u.name, '') AS name, u.type, coalesce(u.mode, 'i') AS mode,
               coalesce(u.mode, 'i') IN ('i', 'b', 'v') AS is_input,
               (SELECT t.typtype FROM pg_type t WHERE t.oid = u.type) AS kind,
               count(*) FILTER (WHERE coalesce(u.mode, 'i') IN ('i', 'b', 'v'))
                 OVER (ORDER BY u.position) AS number
        FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargmodes, p.proargnames)
          WITH ORDINALITY AS u (type, mode, name, position)
      ) AS a
    ) AS argument
    CROSS JOIN LATERAL (
      SELECT json_agg(a.attname ORDER BY a.attnum) AS columns,
             json_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) AS types
      FROM pg_attribute a
      WHERE base.typtype = 'c' AND a.attrelid = base.typrelid AND a.attnum > 0
        AND NOT a.attisdropped
    ) AS attribute
    WHERE n.nspname = ANY (p_schemas) AND p.prokind = 'f' AND argument.is_callable
      AND (result.typtype <> 'p' OR p.prorettype IN ('void'::regtype, 'record'::regtype))
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

-- The same of schema api alone.
CREATE OR REPLACE FUNCTION internal.api_catalogue() RETURNS json
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT internal.api_catalogue_of(ARRAY['api']) $$;

REVOKE ALL ON FUNCTION
  internal.tenant_id_of(text), internal.api_catalogue(), internal.api_catalogue_of(text[])
  FROM PUBLIC;
GRANT USAGE ON SCHEMA internal TO authenticator, promgres_api;
GRANT EXECUTE ON FUNCTION
  internal.tenant_id_of(text), internal.api_catalogue(), internal.api_catalogue_of(text[])
  TO authenticator, promgres_api;
