"""What one client may cost the others, and what metrics tell of it."""

import asyncio
import re
from typing import Any

import pytest

from ingest.http import bodies
from ingest.storage import read
from tests.support.databases import Database
from tests.support.readapi import Client, add_functions, running_api, token


@pytest.fixture
async def prepared(postgres_db: Database) -> Database:
    await add_functions(postgres_db)
    return postgres_db


async def test_a_statement_that_takes_too_long_is_ended(prepared: Database) -> None:
    async with running_api(prepared, statement_timeout_seconds=2) as api:
        answer = await api.get("nap", p_seconds=30)
        assert (answer.status, answer.json["code"]) == (500, "57014")
        assert (await api.get("who")).status == 200


async def test_no_connection_in_time_is_504(prepared: Database) -> None:
    async with running_api(prepared, pool_size=1, acquire_timeout_seconds=0.2) as api:
        await api.get("who")
        busy = asyncio.create_task(api.get("nap", p_seconds=3))
        await _until_used(api, 1)
        answer = await api.get("who")
        assert (answer.status, answer.json["code"]) == (504, "PGRST003")
        assert (await busy).status == 204
        assert (await api.get("who")).status == 200


async def test_too_many_that_wait_are_told_to_come_back(
    prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "MOST_WAITING", 2)
    async with running_api(prepared, pool_size=1) as api:
        await api.get("who")
        tasks = [asyncio.create_task(api.get("nap", p_seconds=0.3)) for _ in range(6)]
        answers = await asyncio.gather(*tasks)
        refused = [answer for answer in answers if answer.status == 503]
        assert len(refused) == 3
        assert all(answer.headers["Retry-After"] == "1" for answer in refused)
        assert [answer.status for answer in answers].count(204) == 3


async def test_a_body_that_does_not_come_is_not_waited_for(
    prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    async with running_api(prepared, pool_size=1) as api:
        host, _, port = api.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /rpc/who HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert b"408" in await reader.readline()
        writer.close()


async def test_a_client_that_goes_away_gives_its_connection_back(prepared: Database) -> None:
    async with running_api(prepared, pool_size=1) as api:
        await api.get("who")
        gone = asyncio.create_task(api.get("nap", p_seconds=0.3))
        await _until_used(api, 1)
        gone.cancel()
        assert (await api.get("who")).status == 200


async def test_metrics_do_not_grow_by_names_that_clients_make_up(prepared: Database) -> None:
    async with running_api(prepared) as api:
        before = await _requests(api)
        for number in range(5):
            await api.get(f"made_up_{number}")
            await api.request("GET", f"/made/up/{number}")
            await api.request("OPTIONS", f"/rpc/made_up_{number}")
        await api.get("who")
        await api.get("who", wrong="1")
        await api.get("add_visit", p_who="x")
        after = await _requests(api)
        assert "made_up" not in "".join(after)
        assert after['function="unknown",status="404"'] == (
            before.get('function="unknown",status="404"', 0) + 16
        )
        who = 'function="who",status="200"'
        assert after[who] == before.get(who, 0) + 1
        assert 'function="add_visit",status="401"' in after


async def test_metrics_tell_durations_and_connections(api: Client) -> None:
    await api.get("who", token())
    text = (await api.request("GET", "/metrics")).text
    assert re.search(r'promgres_api_request_seconds_count\{function="who"\} [1-9]', text)
    assert 'promgres_api_connections{state="idle"}' in text
    assert "promgres_api_response_bytes_total" in text


async def _requests(api: Client) -> dict[str, float]:
    text = (await api.request("GET", "/metrics")).text
    found: list[Any] = re.findall(r"promgres_api_requests_total\{(.*)\} (.*)", text)
    return {labels: float(value) for labels, value in found}


async def _until_used(api: Client, connections: int) -> None:
    wanted = f'promgres_api_connections{{state="used"}} {connections}'
    async with asyncio.timeout(10):
        while wanted not in (await api.request("GET", "/metrics")).text:
            pass
