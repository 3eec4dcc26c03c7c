"""Who a request is to the database: role, tenant, settings, and that nothing of it stays behind."""

import asyncio
import json

from tests.support.databases import Database
from tests.support.readapi import Client, add_functions, running_api, token


async def test_the_role_is_the_token_s_or_web_anon(api: Client) -> None:
    assert (await api.get("who")).json == "web_anon"
    assert (await api.get("who", token())).json == "web_anon"
    assert (await api.get("who", token(role="web_anon"))).json == "web_anon"
    assert (await api.get("who", token(role="writer"))).json == "writer"


async def test_only_a_writer_changes_excluded_addresses(own_api: Client) -> None:
    writer = token(role="writer")
    for _ in range(2):
        await own_api.post("rm_excluded_address", writer, p_value="a")
    assert (await own_api.post("add_excluded_address", writer, p_value="a")).status == 204
    again = await own_api.post("add_excluded_address", writer, p_value="a")
    assert (again.status, again.json["code"]) == (409, "23505")
    assert [row["value"] for row in (await own_api.get("get_excluded_addresses")).json] == ["a"]
    assert (await own_api.post("rm_excluded_address", p_value="a")).status == 401
    assert (await own_api.post("rm_excluded_address", writer, p_value="a")).status == 204
    assert (await own_api.get("get_excluded_addresses")).text == "[]"


async def test_a_role_that_is_granted_later_may_be_assumed_at_once(own_api: Client) -> None:
    analyst = token(role="analyst_of_the_tests")
    assert (await own_api.get("who", analyst)).status == 403
    await own_api.sql(
        "CREATE ROLE analyst_of_the_tests NOLOGIN",
        "GRANT USAGE ON SCHEMA api TO analyst_of_the_tests",
        "GRANT analyst_of_the_tests TO authenticator",
    )
    try:
        assert (await own_api.get("who", analyst)).json == "analyst_of_the_tests"
    finally:
        await own_api.sql("DROP OWNED BY analyst_of_the_tests", "DROP ROLE analyst_of_the_tests")
    assert (await own_api.get("who", analyst)).status == 403


async def test_a_role_that_is_a_superuser_is_never_assumed(own_api: Client) -> None:
    await own_api.sql(
        "CREATE ROLE powerful_of_the_tests NOLOGIN SUPERUSER",
        "GRANT powerful_of_the_tests TO authenticator",
    )
    try:
        assert (await own_api.get("who", token(role="powerful_of_the_tests"))).status == 403
    finally:
        await own_api.sql("DROP ROLE powerful_of_the_tests")


async def test_the_tenant_is_the_token_s_or_default(api: Client) -> None:
    acme = await api.sql("SELECT tenant_id::text FROM app.tenant WHERE name = 'acme'")
    asked = {"p_name": "promgres.tenant_id"}
    assert (await api.get("setting", **asked)).json == "1"
    assert (await api.get("setting", token(tenant="acme"), **asked)).json == acme
    assert (await api.get("setting", token(tenant="default"), **asked)).json == "1"


async def test_a_tenant_that_is_made_later_is_known_at_once(own_api: Client) -> None:
    late = token(tenant="late")
    assert (await own_api.get("who", late)).status == 403
    await own_api.sql("INSERT INTO app.tenant (name) VALUES ('late')")
    assert (await own_api.get("who", late)).status == 200


async def test_no_tenant_sees_another_s_addresses(own_api: Client) -> None:
    acme, default = token(role="writer", tenant="acme"), token(role="writer")
    await own_api.post("add_excluded_address", acme, p_value="of acme")
    await own_api.post("add_excluded_address", default, p_value="of default")
    of_acme = await own_api.get("get_excluded_addresses", acme)
    of_nobody = await own_api.get("get_excluded_addresses")
    assert [row["value"] for row in of_acme.json] == ["of acme"]
    assert [row["value"] for row in of_nobody.json] == ["of default"]


async def test_functions_may_ask_what_was_sent(api: Client) -> None:
    async def setting(name: str, bearer: str | None = None) -> str:
        headers = {"X-Custom": "ü'\"; --", "Cookie": "a=b"}
        value = (await api.get("setting", bearer, p_name=name, headers=headers)).json
        assert isinstance(value, str)
        return value

    bearer = token(role="writer", custom={"n": 10**20})
    claims = json.loads(await setting("request.jwt.claims", bearer))
    assert (claims["role"], claims["custom"]) == ("writer", {"n": 10**20})
    assert json.loads(await setting("request.jwt.claims")) == {"role": "web_anon"}
    headers = json.loads(await setting("request.headers", bearer))
    assert headers["x-custom"] == "ü'\"; --"
    assert "authorization" not in headers
    assert json.loads(await setting("request.cookies")) == {"a": "b"}
    assert await setting("request.method") == "GET"
    assert await setting("request.path") == "/rpc/setting"
    assert await setting("transaction_read_only") == "on"
    assert await setting("statement_timeout") == "250ms"  # of the quick lane
    assert await setting("TimeZone") == "UTC"


async def test_a_post_writes_only_in_a_volatile_function(api: Client) -> None:
    answer = await api.post("setting", p_name="transaction_read_only")
    assert answer.json == "on"


async def test_a_session_is_clean_for_the_next_request(postgres_db: Database) -> None:
    await add_functions(postgres_db)
    async with running_api(postgres_db, pool_size=1) as api:
        assert (await api.post("leave_traces", token(role="writer"))).status == 204
        assert (await api.get("who", token(role="writer"))).json == "writer"
        assert (await api.get("setting", p_name="promgres.tenant_id")).json == "1"
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42"
        assert await api.sql(held) == 0


REFUSED_AT_ITS_COMMIT = (
    "CREATE TABLE app.unique_later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    """
CREATE FUNCTION api.twice() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER AS $$
    SELECT pg_advisory_lock(42);
    INSERT INTO app.unique_later VALUES (1), (1)
$$""",
    "GRANT EXECUTE ON FUNCTION api.twice() TO web_anon",
)


async def test_a_session_is_clean_after_a_commit_that_is_refused(postgres_db: Database) -> None:
    await add_functions(postgres_db)
    async with running_api(postgres_db, pool_size=1) as api:
        await api.sql(*REFUSED_AT_ITS_COMMIT)
        assert (await api.post("twice")).status == 409
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42"
        assert await api.sql(held) == 0


async def test_requests_at_the_same_time_do_not_mix(api: Client) -> None:
    acme = await api.sql("SELECT tenant_id::text FROM app.tenant WHERE name = 'acme'")

    async def tenant(name: str | None) -> str:
        bearer = token(tenant=name) if name else None
        answer = await api.get("setting", bearer, p_name="promgres.tenant_id")
        return str(answer.json)

    names = ["acme", None] * 50
    seen = await asyncio.gather(*(tenant(name) for name in names))
    assert seen == [acme if name else "1" for name in names]


async def test_nothing_temporary_outlives_its_request(postgres_db: Database) -> None:
    await add_functions(postgres_db)
    async with running_api(postgres_db, pool_size=1) as api:
        await api.sql(
            "CREATE FUNCTION api.keep() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN"
            " CREATE TEMP TABLE kept AS SELECT 'secret' AS value;"
            " CREATE FUNCTION pg_temp.kept() RETURNS int LANGUAGE sql AS 'SELECT 1';"
            " LISTEN kept; RETURN pg_backend_pid(); END $$",
            "CREATE FUNCTION api.kept() RETURNS json LANGUAGE sql STABLE AS $$ SELECT"
            " json_build_array(pg_backend_pid(), to_regclass('pg_temp.kept'),"
            " to_regproc('pg_temp.kept'), (SELECT count(*) FROM pg_listening_channels())) $$",
            "SELECT 1",
        )
        for _ in range(2):  # the second time the table could be there already
            pid = (await api.post("keep")).json
            assert (await api.get("kept")).json == [pid, None, None, 0]


async def test_no_hint_names_what_the_role_may_not_execute(api: Client) -> None:
    writer = token(role="writer")
    assert (await api.get("add_visitt", writer)).json["hint"].endswith("api.add_visit")
    assert "add_visit" not in (await api.get("add_visitt")).text.replace("add_visitt", "")
    assert "not_for_anyone" not in (await api.get("not_for_anyon", writer)).text
    assert "p_who" not in (await api.get("add_visit", wrong="x")).text
    answer = await api.request("OPTIONS", "/rpc/add_visitt")
    assert "add_visit" not in answer.text.replace("add_visitt", "")
