"""The clients that users of PostgREST have, Python's and JavaScript's: the same calls by both, on
both engines, errors too."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

import pytest
from postgrest import AsyncPostgrestClient
from postgrest.exceptions import APIError

from tests.support.databases import Database
from tests.support.install import POSTGREST_JS, installed, node
from tests.support.readapi import Client, add_functions, running_api, token

ANY: Any = object()
Step = tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    """A call as JavaScript writes it, and what it gives.

    Attributes:
        data: of the answer, or the code of the error.
        clients: that have what it uses.
    """

    steps: tuple[Step, ...]
    data: Any = ANY
    code: str | None = None
    count: int | None = None
    clients: str = "python js"


def rpc(function: str, arguments: dict[str, Any] | None = None, **options: Any) -> Step:
    return ("rpc", function, arguments or {}, options)


PEOPLE = rpc("people")
GET = {"get": True}


def people(*steps: Step, ids: list[int], clients: str = "python js") -> Call:
    return Call((PEOPLE, ("select", "id"), *steps), [{"id": each} for each in ids], clients=clients)


CALLS = [
    Call((rpc("who"),), "web_anon"),
    Call((rpc("who", **GET),), "web_anon"),
    Call((rpc("with_default", {"p_a": 1}),), 11),
    Call((rpc("with_default", {"p_a": 1, "p_b": 2}, **GET),), 3),
    Call((rpc("one_column", {"p_count": 2}),), [{"id": 1}, {"id": 2}]),
    Call((rpc("one_column", {"p_count": 0}, **GET),), []),
    Call((rpc("numbers", {"p_count": 3}),), [1, 2, 3]),
    Call((rpc("two_out"),), {"a": 1, "b": "x"}),
    Call((rpc("nothing"),), ANY),
    Call((rpc("echo_array", {"p_value": [1, 2]}),), [1, 2]),
    Call((rpc("echo_array", {"p_value": [1, 2]}, **GET),), [1, 2], clients="js"),
    Call((rpc("echo_json", {"p_value": {"a": [1, None]}}),), {"a": [1, None]}),
    Call((rpc("words", {"v": ["a", "b"]}),), "a|b"),
    Call((rpc("unnamed_json", {"a": 1}),), {"a": 1}),
    Call((rpc("who"), ("select", "*")), "web_anon"),
    Call((rpc("numbers", {"p_count": 3}, count="exact"),), [1, 2, 3], count=3),
    Call((rpc("numbers", {"p_count": 3}, count="planned"),), [1, 2, 3], count=3),
    Call((rpc("numbers", {"p_count": 3}, count="estimated"),), [1, 2, 3], count=3),
    Call((rpc("numbers", {"p_count": 3}, count="exact", head=True),), ANY, count=3),
    Call((rpc("people", count="exact"), ("select", "id"), ("limit", 1)), [{"id": 1}], count=4),
    Call((rpc("people", count="exact"), ("select", "id"), ("range", 1, 2)),
         [{"id": 2}, {"id": 3}], count=4),
    people(ids=[1, 2, 3, 4]),
    people(("order", "id", {"ascending": False}), ids=[4, 3, 2, 1]),
    people(("order", "born", {"ascending": True, "nullsFirst": True}), ids=[4, 2, 1, 3]),
    people(("order", "active", {"ascending": False, "nullsFirst": False}),
           ("order", "id", {"ascending": False}), ids=[4, 1, 2, 3]),
    people(("order", "id", {"ascending": True}), ("limit", 2), ids=[1, 2]),
    people(("range", 1, 2), ids=[2, 3]),
    people(("range", 9, 12), ids=[]),
    people(("eq", "id", 2), ids=[2]),
    people(("neq", "id", 2), ids=[1, 3, 4]),
    people(("gt", "id", 2), ids=[3, 4]),
    people(("gte", "id", 2), ids=[2, 3, 4]),
    people(("lt", "id", 2), ids=[1]),
    people(("lte", "id", 2), ids=[1, 2]),
    people(("gt", "id", 1), ("lt", "id", 4), ids=[2, 3]),
    people(("like", "name", "A*"), ids=[1]),
    people(("like", "name", "%nn%"), ids=[1, 4]),
    people(("ilike", "name", "ann*"), ids=[1, 4]),
    people(("likeAnyOf", "name", ["A%", "B%"]), ids=[1, 2]),
    people(("likeAllOf", "name", ["%n%", "A%"]), ids=[1]),
    people(("ilikeAnyOf", "name", ["a%", "b%"]), ids=[1, 2, 4]),
    people(("is", "boss", None), ids=[1]),
    people(("is", "active", True), ids=[1, 4]),
    people(("in", "id", [1, 3]), ids=[1, 3]),
    people(("in", "name", ["ann%", "Bob", "a,b"]), ids=[2, 4]),
    people(("not", "id", "eq", 2), ids=[1, 3, 4]),
    people(("not", "boss", "is", None), ids=[2, 3, 4]),
    people(("or", "id.eq.1,id.eq.3"), ids=[1, 3]),
    people(("or", "id.eq.1,and(id.gt.2,boss.not.is.null)"), ids=[1, 3, 4]),
    people(("match", {"id": 2, "name": "Bob"}), ids=[2]),
    people(("filter", "id", "in", "(1,2)"), ids=[1, 2]),
    people(("filter", "data->>x", "eq", "10"), ids=[3]),
    people(("filter", "name", "match", "^A"), ids=[1]),
    people(("contains", "tags", ["b"]), ids=[1, 2]),
    people(("containedBy", "tags", ["a", "b"]), ids=[1, 2, 3]),
    people(("overlaps", "tags", ["a", "z"]), ids=[1]),
    people(("contains", "data", {"x": 2}), ids=[2]),
    people(("rangeGt", "span", "[1,5)"), ids=[2, 3], clients="js"),
    people(("rangeLt", "span", "[5,9)"), ids=[1], clients="js"),
    people(("rangeAdjacent", "span", "[5,9)"), ids=[1], clients="js"),
    people(("textSearch", "words", "cats", {"config": "english"}), ids=[1], clients="js"),
    people(("textSearch", "words", "the dog", {"config": "english", "type": "plain"}), ids=[2],
           clients="js"),
    people(("regexIMatch", "name", "^a"), ids=[1, 4], clients="js"),
    people(("isDistinct", "boss", 1), ids=[1, 4], clients="js"),
    Call((rpc("people", **GET), ("select", "id"), ("gt", "id", 3)), [{"id": 4}]),
    Call((PEOPLE, ("select", "n:name,id::text"), ("eq", "id", 1)), [{"n": "Ann", "id": "1"}]),
    Call((PEOPLE, ("select", "first:tags->>0"), ("eq", "id", 1)), [{"first": "a"}]),
    Call((rpc("person", {"p_id": 1}), ("single",)), {"id": 1, "name": "Ann", "boss": None}),
    Call((PEOPLE, ("select", "id"), ("limit", 1), ("single",)), {"id": 1}),
    Call((rpc("person", {"p_id": 1}), ("select", "id"), ("maybeSingle",)), {"id": 1}),
    Call((rpc("person", {"p_id": 9}), ("maybeSingle",)), None),
    Call((rpc("person", {"p_id": 1}), ("stripNulls",)), [{"id": 1, "name": "Ann"}]),
    Call((rpc("one_column", {"p_count": 2}), ("csv",)), "id\n1\n2"),
    Call((PEOPLE, ("select", "id"), ("lt", "id", 3), ("csv",)), "id\n1\n2"),
    Call((rpc("numbers", {"p_count": 2}), ("maxAffected", 2)), [1, 2]),
    Call((rpc("numbers", {"p_count": 3}), ("maxAffected", 2)), code="PGRST124"),
    Call((rpc("nosuch"),), code="PGRST202"),
    Call((rpc("who", {"p": 1}),), code="PGRST202"),
    Call((rpc("ambiguous", {"p_a": 1}),), code="PGRST203"),
    Call((rpc("people"), ("single",)), code="PGRST116"),
    Call((PEOPLE, ("select", "nosuch")), code="42703"),
    Call((PEOPLE, ("eq", "id", "x")), code="22P02"),
    Call((PEOPLE, ("or", "id.eq")), code="PGRST100"),
    Call((PEOPLE, ("select", "boss(name)")), code="PGRST200"),
    Call((rpc("with_default", {"p_a": "x"}),), code="22P02"),
    Call((rpc("fail_with", {"p_sqlstate": "P0001"}),), code="P0001"),
    Call((rpc("teapot"),), code="TEA"),
]  # fmt: skip
PYTHON = [call for call in CALLS if "python" in call.clients]
JAVASCRIPT = [call for call in CALLS if "js" in call.clients]

NAMES = {
    "is": "is_", "in": "in_", "or": "or_", "likeAnyOf": "like_any_of", "likeAllOf": "like_all_of",
    "ilikeAnyOf": "ilike_any_of", "containedBy": "contained_by", "maybeSingle": "maybe_single",
    "stripNulls": "strip_nulls", "maxAffected": "max_affected",
}  # fmt: skip


@pytest.fixture
async def served(engine_db: Database) -> Any:
    await add_functions(engine_db)
    async with running_api(engine_db) as api:
        yield api


@pytest.fixture
def javascript() -> None:
    """The client of npm; without it the test skips (in CI it fails)."""
    if not installed(POSTGREST_JS):
        missing = "the JavaScript client is not installed: make test-deps"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


def test_there_are_enough_of_them() -> None:
    assert len(PYTHON) + len(JAVASCRIPT) >= 150


async def test_python(served: Client) -> None:
    client = AsyncPostgrestClient(served.url, schema="api")
    for call in PYTHON:
        data, count, code = await _result(_in_python(client, call.steps))
        assert code == call.code, call.steps
        if code is None and call.data is not ANY:
            assert data == call.data, call.steps
        assert call.count is None or count == call.count, call.steps


async def test_javascript(served: Client, javascript: None) -> None:
    results = await _in_javascript(served, JAVASCRIPT)
    for call, result in zip(JAVASCRIPT, results, strict=True):
        assert result["code"] == call.code, (call.steps, result)
        if call.code is None and call.data is not ANY:
            assert result["data"] == call.data, call.steps
        assert call.count is None or result["count"] == call.count, call.steps


async def test_javascript_with_a_token_in_both_headers(api: Client, javascript: None) -> None:
    call = Call((rpc("who"),))
    (result,) = await _in_javascript(api, [call], token(role="writer"), "/rest/v1")
    assert result["data"] == "writer"


async def _result(builder: Any) -> tuple[Any, int | None, str | None]:
    """Data, count and the code of the error."""
    try:
        response = await builder.execute()
    except APIError as error:
        return None, None, error.code
    return (None, None, None) if response is None else (response.data, response.count, None)


def _in_python(client: AsyncPostgrestClient, steps: tuple[Step, ...]) -> Any:
    builder: Any = client
    for name, *arguments in steps:
        match name, arguments:
            case "rpc", [function, given, options]:
                builder = client.rpc(function, given, **options)
            case "order", [column, options]:
                builder = builder.order(
                    column, desc=not options["ascending"], nullsfirst=options.get("nullsFirst")
                )
            case "not", [column, operator, value]:
                builder = builder.not_.filter(column, operator, "null" if value is None else value)
            case (("likeAnyOf" | "likeAllOf" | "ilikeAnyOf"), [column, patterns]):
                builder = getattr(builder, NAMES[name])(column, ",".join(patterns))
            case _:
                builder = getattr(builder, NAMES.get(name, name))(*arguments)
    return builder


async def _in_javascript(
    api: Client, calls: list[Call], signed: str | None = None, below: str = ""
) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        node(),
        POSTGREST_JS / "calls.mjs",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    asked = {"url": api.url + below, "token": signed, "calls": [call.steps for call in calls]}
    output, _ = await process.communicate(json.dumps(asked).encode())
    results: list[dict[str, Any]] = json.loads(output)
    return results
