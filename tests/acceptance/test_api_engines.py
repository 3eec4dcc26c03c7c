"""The read API on both engines: every function of ours answers, by GET and by POST."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.readapi import Client, add_functions, running_api, token

VALUES = {
    "p_metric_name": "up",
    "p_schema": "mainnet",
    "p_interval": "1 hour",
    "p_from": "2026-01-01T00:00:00Z",
    "p_to": "2026-02-01T00:00:00Z",
    "p_value": "an address",
    "p_quantile": "0.5",
    "p_name": "queue_length",
    "p_attributes": "{}",
    "p_limit": 10,
    "p_metric": "up",
    "p_match": "{}",
    "p_by": "{job}",
    "p_aggregate": "rate",
    "p_step": "1 hour",
    "p_fill": "linear",
    "p_timezone": "Europe/Vienna",
    "p_like": "%",
    "p_label": "job",
    "p_before_time": "2026-02-01T00:00:00Z",
    "p_before_id": "00000000-0000-0000-0000-000000000000",
}


@pytest.fixture
async def engine_api(engine_db: Database) -> AsyncIterator[Client]:
    async with running_api(engine_db) as client:
        yield client


async def test_every_function_answers(engine_api: Client) -> None:
    writer = token(role="writer")
    document: dict[str, Any] = (await engine_api.request("GET", "/", writer)).json
    paths = {path: each for path, each in document["paths"].items() if path.startswith("/rpc/")}
    assert len(paths) >= 19
    for path, described in paths.items():
        function = path.removeprefix("/rpc/")
        names = described["post"]["parameters"][0]["schema"]["properties"]
        arguments = {name: VALUES[name] for name in names}
        posted = await engine_api.post(function, writer, **arguments)
        assert posted.status in (200, 204), f"{function}: {posted.text}"
        if "get" in described:
            got = await engine_api.get(function, writer, **arguments)
            assert (got.status, got.text) == (posted.status, posted.text)


async def test_requests_at_the_same_time(engine_db: Database) -> None:
    await add_functions(engine_db)
    async with running_api(engine_db) as api:
        answers = await asyncio.gather(*(api.get("with_default", p_a=i) for i in range(40)))
        assert [answer.json for answer in answers] == [i + 10 for i in range(40)]
        answers = await asyncio.gather(
            *(api.get("fail_with", p_sqlstate="P0001") for _ in "123456")
        )
        assert [answer.status for answer in answers] == [400] * 6
        assert (await api.get("who")).json == "web_anon"
        assert (await api.get("add_visit", token(role="writer"), p_who="x")).status == 405
        assert (await api.post("add_visit", token(role="writer"), p_who="x")).status == 200
