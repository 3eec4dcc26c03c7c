-- Addresses that a tenant leaves out of its circulating supply.

CREATE OR REPLACE FUNCTION api.get_excluded_addresses()
RETURNS TABLE (id int, value text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.id, a.value
    FROM internal.excluded_addresses AS a
    WHERE a.tenant_id = internal.current_tenant_id()
    ORDER BY a.id
$$;

COMMENT ON FUNCTION api.get_excluded_addresses() IS
'Addresses left out of the circulating supply, in the order in which they were added.

Anyone may read them; add_excluded_address and rm_excluded_address change them.

Example: get_excluded_addresses()';

CREATE OR REPLACE FUNCTION api.add_excluded_address(p_value text) RETURNS void
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO internal.excluded_addresses (tenant_id, value)
    VALUES (internal.current_tenant_id(), p_value)
$$;

COMMENT ON FUNCTION api.add_excluded_address(text) IS
'Adds an address to those left out of the circulating supply. Role writer only.

An address that is there already is a unique violation (23505, over HTTP 409).

Example: add_excluded_address(''manifest1exampleaddress'')';

CREATE OR REPLACE FUNCTION api.rm_excluded_address(p_value text) RETURNS void
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM internal.excluded_addresses AS a
    WHERE a.tenant_id = internal.current_tenant_id() AND a.value = p_value
$$;

COMMENT ON FUNCTION api.rm_excluded_address(text) IS
'Removes an address from those left out of the circulating supply. Role writer only.

An address that is not there is no error.

Example: rm_excluded_address(''manifest1exampleaddress'')';

GRANT EXECUTE ON FUNCTION api.get_excluded_addresses() TO web_anon, writer;
GRANT EXECUTE ON FUNCTION api.add_excluded_address(text), api.rm_excluded_address(text) TO writer;
