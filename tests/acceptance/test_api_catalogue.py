"""A user adds an endpoint by adding a function, and changes it by changing the function."""

import asyncio
from typing import Any

import pytest

from tests.support.readapi import Client, token

NEW = "CREATE FUNCTION api.fresh(p_a int) RETURNS int LANGUAGE sql STABLE AS 'SELECT p_a + 1'"


async def test_a_new_function_is_callable_at_once(own_api: Client) -> None:
    assert (await own_api.get("fresh", p_a=1)).status == 404
    await own_api.sql(NEW)
    assert (await own_api.get("fresh", p_a=1)).text == "2"
    assert (await own_api.post("fresh", p_a=1)).text == "2"


async def test_everyone_who_asks_at_the_same_time_finds_it(own_api: Client) -> None:
    await own_api.get("who")
    await own_api.sql(NEW)
    answers = await asyncio.gather(*(own_api.get("fresh", p_a=i) for i in range(20)))
    assert [answer.json for answer in answers] == list(range(1, 21))


@pytest.mark.parametrize(
    ("change", "body"),
    [
        (
            "CREATE OR REPLACE FUNCTION api.fresh(p_a int) RETURNS int LANGUAGE sql AS 'SELECT 7'",
            "7",
        ),
        (
            "CREATE FUNCTION api.fresh(p_a int) RETURNS SETOF int"
            " LANGUAGE sql AS 'VALUES (1), (2)'",
            "[1, 2]",
        ),
        (
            "CREATE FUNCTION api.fresh(p_a int) RETURNS TABLE (a int, b int)"
            " LANGUAGE sql AS 'SELECT 1, 2'",
            '[{"a":1,"b":2}]',
        ),
        ("CREATE FUNCTION api.fresh(p_a text) RETURNS text LANGUAGE sql AS 'SELECT p_a'", '"1"'),
        (
            "CREATE FUNCTION api.fresh(p_a int, p_b int DEFAULT 4) RETURNS int"
            " LANGUAGE sql AS 'SELECT p_b'",
            "4",
        ),
    ],
    ids=["body", "set", "table", "argument type", "new argument"],
)
async def test_a_changed_function_is_answered_as_it_is_now(
    own_api: Client, change: str, body: str
) -> None:
    await own_api.sql(NEW)
    assert (await own_api.get("fresh", p_a=1)).text == "2"
    drop = [] if "OR REPLACE" in change else ["DROP FUNCTION api.fresh"]
    await own_api.sql(*drop, change)
    for _ in range(2):
        assert (await own_api.get("fresh", p_a=1)).text == body


async def test_a_dropped_function_is_gone_at_once(own_api: Client) -> None:
    await own_api.sql(NEW)
    assert (await own_api.get("fresh", p_a=1)).status == 200
    await own_api.sql("DROP FUNCTION api.fresh")
    answer = await own_api.get("fresh", p_a=1)
    assert (answer.status, answer.json["code"]) == (404, "PGRST202")


async def test_a_function_that_becomes_volatile_may_write_at_once(own_api: Client) -> None:
    await own_api.sql(
        "CREATE FUNCTION api.fresh() RETURNS int LANGUAGE plpgsql STABLE SECURITY DEFINER"
        " AS 'BEGIN RETURN api.add_visit(''x''); END'"
    )
    assert (await own_api.post("fresh")).status == 405
    await own_api.sql("ALTER FUNCTION api.fresh() VOLATILE")
    assert (await own_api.post("fresh")).status == 200
    assert (await own_api.get("fresh")).status == 405


async def test_a_new_overload_that_makes_a_call_ambiguous_is_noticed(own_api: Client) -> None:
    await own_api.sql(NEW)
    assert (await own_api.get("fresh", p_a=1)).status == 200
    await own_api.sql("CREATE FUNCTION api.fresh(p_a text) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    await own_api.get("nosuch")
    assert (await own_api.get("fresh", p_a=1)).status == 300


async def test_execute_decides_who_may_call(own_api: Client) -> None:
    await own_api.sql(NEW, "REVOKE ALL ON FUNCTION api.fresh FROM PUBLIC")
    assert (await own_api.get("fresh", p_a=1)).status == 401
    await own_api.sql("GRANT EXECUTE ON FUNCTION api.fresh TO web_anon")
    assert (await own_api.get("fresh", p_a=1)).status == 200


class TestOpenapi:
    async def test_it_describes_what_the_role_may_call(self, own_api: Client) -> None:
        async def paths(bearer: str | None = None) -> Any:
            answer = await own_api.request("GET", "/", bearer)
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "application/openapi+json; charset=utf-8"
            assert answer.json["swagger"] == "2.0"
            return answer.json["paths"]

        anonymous, writer = await paths(), await paths(token(role="writer"))
        assert "/rpc/add_visit" not in anonymous
        assert list(writer["/rpc/add_visit"]) == ["post"]
        assert "/rpc/not_for_anyone" not in writer
        described = anonymous["/rpc/rows_of"]["get"]
        assert described["summary"] == "Rows with three columns"
        assert described["parameters"][0]["format"] == "integer"

    async def test_what_is_new_is_in_it(self, own_api: Client) -> None:
        await own_api.request("GET", "/")
        await own_api.sql(NEW, "COMMENT ON FUNCTION api.fresh IS 'Adds one'")
        document = (await own_api.request("GET", "/")).json
        assert document["paths"]["/rpc/fresh"]["post"]["summary"] == "Adds one"

    async def test_every_function_of_ours_is_described(self, api: Client) -> None:
        paths = (await api.request("GET", "/")).json["paths"]
        ours = [path for path in paths if path.startswith("/rpc/get_")]
        assert len(ours) >= 15
        for path in ours:
            assert paths[path]["get"].get("summary"), f"{path} has no COMMENT"

    async def test_other_forms_of_it(self, api: Client) -> None:
        answer = await api.request("GET", "/", headers={"Accept": "application/json"})
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert (await api.request("GET", "/", headers={"Accept": "text/csv"})).status == 406
