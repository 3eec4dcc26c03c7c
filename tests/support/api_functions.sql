-- Functions as a user might add them to schema api: one of each shape that /rpc must know.

CREATE FUNCTION api.rows_of(p_count int) RETURNS TABLE (id int, name text, amount numeric)
LANGUAGE sql STABLE
AS $$ SELECT i, 'row ' || i, 987654321098765432101.50 + i FROM generate_series(1, p_count) AS i $$;
COMMENT ON FUNCTION api.rows_of(int) IS E'Rows with three columns\nAs many as asked for.';

CREATE FUNCTION api.one_column(p_count int) RETURNS TABLE (id int)
LANGUAGE sql STABLE AS $$ SELECT generate_series(1, p_count) $$;

CREATE FUNCTION api.numbers(p_count int) RETURNS SETOF int
LANGUAGE sql STABLE AS $$ SELECT generate_series(1, p_count) $$;

CREATE FUNCTION api.echo_text(p_value text) RETURNS text
LANGUAGE sql STABLE STRICT AS $$ SELECT p_value $$;

CREATE FUNCTION api.echo_numeric(p_value numeric) RETURNS numeric
LANGUAGE sql STABLE STRICT AS $$ SELECT p_value $$;

CREATE FUNCTION api.echo_json(p_value jsonb) RETURNS jsonb
LANGUAGE sql STABLE STRICT AS $$ SELECT p_value $$;

CREATE FUNCTION api.echo_array(p_value int[]) RETURNS int[]
LANGUAGE sql STABLE STRICT AS $$ SELECT p_value $$;

CREATE FUNCTION api.echo_boolean(p_value boolean) RETURNS boolean
LANGUAGE sql STABLE STRICT AS $$ SELECT p_value $$;

CREATE FUNCTION api.echo_interval(p_value interval) RETURNS interval
LANGUAGE sql STABLE STRICT AS $$ SELECT p_value $$;

CREATE FUNCTION api.echo_time(p_value timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE STRICT AS $$ SELECT p_value $$;

CREATE FUNCTION api.is_null(p_value text) RETURNS boolean
LANGUAGE sql STABLE AS $$ SELECT p_value IS NULL $$;

CREATE FUNCTION api.total(VARIADIC p_values int[]) RETURNS bigint
LANGUAGE sql STABLE AS $$ SELECT sum(v) FROM unnest(p_values) AS v $$;

CREATE FUNCTION api.with_default(p_a int, p_b int DEFAULT 10) RETURNS int
LANGUAGE sql STABLE AS $$ SELECT p_a + p_b $$;

CREATE FUNCTION api.overloaded(p_a int) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'a' $$;
CREATE FUNCTION api.overloaded(p_a int, p_b int) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'ab' $$;

CREATE FUNCTION api.ambiguous(p_a int) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'int' $$;
CREATE FUNCTION api.ambiguous(p_a text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'text' $$;

CREATE FUNCTION api.two_out(OUT a int, OUT b text) LANGUAGE sql STABLE AS $$ SELECT 1, 'x' $$;
CREATE FUNCTION api.one_out(OUT a int) LANGUAGE sql STABLE AS $$ SELECT 1 $$;
CREATE FUNCTION api.any_record() RETURNS record LANGUAGE sql STABLE AS $$ SELECT 1, 'x'::text $$;
CREATE FUNCTION api.any_records() RETURNS SETOF record
LANGUAGE sql STABLE AS $$ SELECT 1, 'x'::text UNION ALL SELECT 2, 'y' $$;
CREATE TYPE api.pair AS (a int, b text);
CREATE FUNCTION api.a_pair() RETURNS api.pair LANGUAGE sql STABLE AS $$ SELECT 1, 'x'::text $$;
CREATE FUNCTION api.pair_text(p_pair api.pair) RETURNS text
LANGUAGE sql STABLE AS $$ SELECT p_pair.b || p_pair.a $$;
CREATE FUNCTION api.a_table() RETURNS SETOF api.pair
LANGUAGE sql STABLE AS $$ SELECT * FROM (VALUES (1, 'x'), (2, NULL)) AS v $$;

CREATE FUNCTION api.nothing() RETURNS void LANGUAGE sql STABLE AS $$ SELECT $$;
CREATE FUNCTION api.csv_traps() RETURNS TABLE ("a,b" text, c text)
LANGUAGE sql STABLE AS $$ SELECT E'back\\slash', E'quote" and\nnewline' UNION ALL SELECT '', NULL $$;
CREATE FUNCTION api.special_floats() RETURNS TABLE (value float8)
LANGUAGE sql STABLE AS $$ SELECT unnest(ARRAY['NaN', 'Infinity', '-Infinity', '0.1']::float8[]) $$;
CREATE FUNCTION api.large(p_count int) RETURNS text
LANGUAGE sql STABLE AS $$ SELECT repeat('0123456789', p_count) $$;

CREATE TABLE public.visit (id int GENERATED ALWAYS AS IDENTITY, who text UNIQUE);
CREATE FUNCTION api.add_visit(p_who text) RETURNS int
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ INSERT INTO visit (who) VALUES (p_who) RETURNING id $$;
CREATE FUNCTION api.add_visits(p_who text, p_count int) RETURNS SETOF int
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ INSERT INTO visit (who) SELECT p_who || i FROM generate_series(1, p_count) i RETURNING id $$;
CREATE FUNCTION api.visits() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT count(*) FROM visit $$;
CREATE FUNCTION api.stable_but_writes() RETURNS int
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ BEGIN EXECUTE 'INSERT INTO visit (who) VALUES (NULL)'; RETURN 1; END $$;

CREATE FUNCTION api.setting(p_name text) RETURNS text
LANGUAGE sql STABLE AS $$ SELECT current_setting(p_name, true) $$;
CREATE FUNCTION api.who() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_user::text $$;
CREATE FUNCTION api.leave_traces() RETURNS void LANGUAGE plpgsql VOLATILE
AS $$ BEGIN
    PERFORM set_config('promgres.tenant_id', '77', false), set_config('search_path', 'x', false),
        set_config('role', 'web_anon', false), pg_advisory_lock(42);
END $$;
CREATE FUNCTION api.nap(p_seconds float8) RETURNS void
LANGUAGE sql VOLATILE AS $$ SELECT pg_sleep(p_seconds) $$;
CREATE FUNCTION api.fail_with(p_sqlstate text) RETURNS void LANGUAGE plpgsql STABLE
AS $$ BEGIN RAISE EXCEPTION 'failed on purpose'
    USING ERRCODE = p_sqlstate, DETAIL = 'the detail', HINT = 'the hint'; END $$;
CREATE FUNCTION api.teapot() RETURNS void LANGUAGE plpgsql STABLE
AS $$ BEGIN RAISE SQLSTATE 'PGRST' USING
    MESSAGE = '{"code":"TEA","message":"short and stout","details":null,"hint":"tip me over"}',
    DETAIL = '{"status":418,"headers":{"X-Tea":"green"}}'; END $$;

CREATE FUNCTION api.not_for_anyone() RETURNS int LANGUAGE sql STABLE AS $$ SELECT 1 $$;
CREATE FUNCTION api.unnamed_json(jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT $1 $$;
CREATE FUNCTION api.unnamed_text(text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT $1 $$;
CREATE FUNCTION api.unnamed_bytes(bytea) RETURNS bytea LANGUAGE sql STABLE AS $$ SELECT $1 $$;
CREATE FUNCTION api.unnamed(int) RETURNS int LANGUAGE sql STABLE AS $$ SELECT $1 $$;
CREATE FUNCTION api.polymorphic(p_value anyelement) RETURNS anyelement
LANGUAGE sql STABLE AS $$ SELECT p_value $$;

-- Anyone may call a new function, unless its owner takes that away.
REVOKE ALL ON FUNCTION api.not_for_anyone(), api.add_visit(text), api.add_visits(text, int)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION api.add_visit(text), api.add_visits(text, int) TO writer;

INSERT INTO app.tenant (name) VALUES ('acme');

-- A result with a column of each kind that filters know.
CREATE FUNCTION api.people() RETURNS TABLE (
    id int, name text, born date, active boolean, tags text[], data jsonb, span int4range,
    words tsvector, boss int
) LANGUAGE sql STABLE AS $$
    VALUES
    (1, 'Ann', date '1990-05-01', true, ARRAY['a', 'b'], jsonb '{"x": 1, "y": {"z": ["p", "q"]}}',
     int4range(1, 5), to_tsvector('english', 'The cats are running'), NULL),
    (2, 'Bob', date '1985-01-31', false, ARRAY['b'], jsonb '{"x": 2, "y": {"z": ["r"]}}',
     int4range(5, 9), to_tsvector('english', 'A dog sleeps'), 1),
    (3, 'Cäcilie, "C"', date '2001-12-24', NULL, ARRAY[]::text[], jsonb '{"x": 10}',
     int4range(10, 20), to_tsvector('english', 'Nothing'), 1),
    (4, 'ann%', NULL, true, NULL, NULL, NULL, NULL, 2)
$$;
CREATE FUNCTION api.person(p_id int) RETURNS TABLE (id int, name text, boss int)
LANGUAGE sql STABLE AS $$ SELECT id, name, boss FROM api.people() WHERE id = p_id $$;
CREATE FUNCTION api."Odd Names"("User Id" int, "fullName" text)
RETURNS TABLE ("User Id" int, "fullName" text, "a.b" int, "sel""ect" int)
LANGUAGE sql STABLE AS $$ SELECT "User Id", "fullName", 7, 8 $$;
CREATE FUNCTION api.words(VARIADIC v text[]) RETURNS text
LANGUAGE sql STABLE AS $$ SELECT array_to_string(v, '|') $$;
