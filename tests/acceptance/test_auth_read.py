"""Keys on the read side: whose data is shown, which functions may be called, who is turned away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from ingest.config import AuthSettings
from tests.support.answer import Answer
from tests.support.databases import Database, blocking, connect
from tests.support.keys import basic, bearer, change_key, create_key
from tests.support.readapi import Client, add_functions, running_api, token

NOTICED_SECONDS = 5.0


@pytest.fixture(scope="module")
def db(shared_postgres_db: Database) -> Database:
    """Functions of every shape, tenant `acme` among them, and an address of each tenant."""
    blocking(add_functions(shared_postgres_db))
    blocking(_add_addresses(shared_postgres_db))
    return shared_postgres_db


async def _add_addresses(database: Database) -> None:
    async with connect(database) as connection:
        await connection.execute(
            "INSERT INTO internal.excluded_addresses (tenant_id, value)"
            " SELECT tenant_id, 'of ' || name FROM app.tenant"
        )


@pytest.fixture(scope="module")
def keys(db: Database) -> dict[str, str]:
    """Keys of `acme` by scope."""
    return {scope: blocking(create_key(db, "acme", scope)) for scope in ("read", "write", "admin")}


@pytest.fixture
async def open_api(db: Database) -> AsyncIterator[Client]:
    """A read side that asks nobody for a key."""
    async with running_api(db) as client:
        yield client


@pytest.fixture
async def strict_api(db: Database) -> AsyncIterator[Client]:
    """One that wants a key or a token, and trusts a proxy on this machine."""
    auth = AuthSettings(required=True, trusted_proxies=["127.0.0.0/8"])
    async with running_api(db, auth=auth) as client:
        yield client


async def addresses(client: Client, headers: dict[str, str]) -> list[str]:
    """What `get_excluded_addresses` shows."""
    answer = await client.get("get_excluded_addresses", headers=headers)
    assert answer.status == 200, answer.text
    return [row["value"] for row in answer.json]


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 30) -> None:
    """Ask again and again until it is true."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def problem(answer: Answer) -> tuple[int, str]:
    """Status and code; a 401 or a 403 of ours says what it wants."""
    assert set(answer.json) == {"code", "message", "details", "hint"}
    return answer.status, answer.json["code"]


async def test_a_key_decides_whose_data_is_shown(open_api: Client, keys: dict[str, str]) -> None:
    key = keys["read"]
    for headers in (
        bearer(key),
        {"Authorization": f"Basic {basic('', key)}"},
        {"X-API-Key": key},
        {"X-PMETRICS-API-KEY": key},
    ):
        assert await addresses(open_api, headers) == ["of acme"]
    assert await addresses(open_api, {}) == ["of default"]
    assert await addresses(open_api, bearer(token(tenant="acme"))) == ["of acme"]


async def test_scopes_become_roles(open_api: Client, keys: dict[str, str]) -> None:
    who = {scope: await open_api.get("who", headers=bearer(keys[scope])) for scope in keys}
    assert who["read"].json == "web_anon"
    assert who["admin"].json == "writer"
    assert problem(who["write"]) == (403, "42501")

    async def add(headers: dict[str, str]) -> Answer:
        return await open_api.post("add_excluded_address", p_value="new", headers=headers)

    assert problem(await add({})) == (401, "42501")
    assert problem(await add(bearer(keys["read"]))) == (403, "42501")
    assert (await add(bearer(keys["admin"]))).status == 204
    assert await addresses(open_api, bearer(keys["read"])) == ["of acme", "new"]
    assert await addresses(open_api, {}) == ["of default"]
    removed = await open_api.post(
        "rm_excluded_address", p_value="new", headers=bearer(keys["admin"])
    )
    assert removed.status == 204


async def test_the_page_of_functions_is_for_the_key_s_role(
    open_api: Client, keys: dict[str, str]
) -> None:
    async def paths(headers: dict[str, str]) -> Any:
        return (await open_api.request("GET", "/", headers=headers)).json["paths"]

    assert "/rpc/add_excluded_address" in await paths(bearer(keys["admin"]))
    assert "/rpc/add_excluded_address" not in await paths(bearer(keys["read"]))


async def test_bad_keys(open_api: Client, keys: dict[str, str]) -> None:
    key = keys["read"]
    for headers in (
        bearer(key[:-4] + "zzzz"),
        {"X-API-Key": "bad"},
        {"X-PMETRICS-API-KEY": "bad"},
        {**bearer(key), "X-API-Key": keys["admin"]},
        {**bearer(token()), "X-API-Key": key},
        {"Authorization": f"Digest {key}"},
    ):
        for path in ("/rpc/get_excluded_addresses", "/", "/metrics"):
            answer = await open_api.request("GET", path, headers=headers)
            assert problem(answer) == (401, "PGRST301"), (path, answer.text)
            assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
            assert key[-30:] not in answer.text


async def test_functions_learn_who_asks_but_not_the_key(
    open_api: Client, keys: dict[str, str]
) -> None:
    async def setting(name: str, headers: dict[str, str]) -> Any:
        return json.loads((await open_api.get("setting", p_name=name, headers=headers)).json)

    by_header = {"X-API-Key": keys["admin"], "X-Custom": "seen"}
    claims = await setting("request.jwt.claims", by_header)
    assert claims == {"role": "writer", "tenant": "acme"}
    for headers in (by_header, bearer(keys["read"]), {"X-PMETRICS-API-KEY": keys["read"]}):
        shown = await setting("request.headers", headers)
        assert "accept-encoding" in shown
        assert "pmk_" not in str(shown)


async def test_where_a_key_is_required(strict_api: Client, keys: dict[str, str]) -> None:
    for path in ("/rpc/get_excluded_addresses", "/"):
        refused = await strict_api.request("GET", path)
        assert problem(refused) == (401, "PGRST302")
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="promgres"'
    assert (await strict_api.request("OPTIONS", "/rpc/who")).status == 401
    assert await addresses(strict_api, bearer(keys["read"])) == ["of acme"]
    assert await addresses(strict_api, bearer(token())) == ["of default"]
    assert await addresses(strict_api, {"X-Scope-OrgID": "acme"}) == ["of acme"]
    unknown = await strict_api.get("who", headers={"X-Scope-OrgID": "nobody"})
    assert problem(unknown) == (401, "PGRST301")
    for path, text in {"/healthz": "ok", "/-/healthy": "ok\n", "/-/ready": "ready\n"}.items():
        answer = await strict_api.request("GET", path)
        assert (answer.status, answer.text) == (200, text)
    asking = {"Origin": "http://page", "Access-Control-Request-Method": "GET"}
    assert (await strict_api.request("OPTIONS", "/rpc/who", headers=asking)).status == 200
    assert (await strict_api.request("GET", "/metrics")).status == 200


async def test_an_empty_header_hides_no_bad_token(strict_api: Client) -> None:
    for path in ("/rpc/who", "/api/v1/event", "/metrics", "/"):
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: api",
            "Authorization:",
            "Authorization: Bearer junk",
        ]
        answer = await strict_api.raw("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        assert answer.startswith(b"HTTP/1.1 401 "), path


async def test_caches_keep_what_a_key_has_asked_for_from_others(
    open_api: Client, keys: dict[str, str]
) -> None:
    deciding = {"Authorization", "X-API-Key", "apikey", "X-PMETRICS-API-KEY", "X-Scope-OrgID"}
    who = [bearer(keys["read"]), {"X-API-Key": keys["read"]}, {"X-PMETRICS-API-KEY": keys["read"]}]
    for path in ("/rpc/who", "/api/v1/event", "/metrics", "/", "/nothing"):
        for headers in (*who, {"X-Scope-OrgID": "acme"}, {}):
            answer = await open_api.request("GET", path, headers=headers)
            assert deciding <= set(answer.headers["Vary"].split(", "))
            told = ("no-store" if headers else None, "private, no-cache" if headers else "no-cache")
            is_rpc = answer.status == 200 and path.startswith("/rpc/")
            assert answer.headers.get("Cache-Control") == told[is_rpc]


async def test_a_name_without_trust_is_ignored(open_api: Client) -> None:
    assert await addresses(open_api, {"X-Scope-OrgID": "acme"}) == ["of default"]


async def test_new_and_revoked_keys(strict_api: Client, db: Database) -> None:
    key = await create_key(db, "acme", "read")
    assert await addresses(strict_api, bearer(key)) == ["of acme"]
    assert await change_key(db, "SELECT app.revoke_key($1)", key)

    async def is_refused() -> bool:
        return (await strict_api.get("who", headers=bearer(key))).status == 401

    await until(is_refused, NOTICED_SECONDS)
    assert "revoked" in (await strict_api.get("who", headers=bearer(key))).text


async def test_refusals_are_recorded(strict_api: Client, db: Database) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.77"}
    bad = token(secret="another secret, long enough for HS256")
    await strict_api.get("who", bad, headers=forwarded)
    await strict_api.get("who", headers=forwarded)
    query = """
        SELECT array_agg(DISTINCT details->>'reason' ORDER BY details->>'reason')
        FROM app.audit WHERE address = '203.0.113.77'
    """

    async def are_recorded() -> bool:
        return bool(await strict_api.sql(query) == ["missing", "token"])

    await until(are_recorded)
