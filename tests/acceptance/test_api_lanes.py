"""Readers beside each other: what one asks for is no reason for another to wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import structlog
from structlog.testing import LogCapture

from ingest.rpc import handler as rpc
from ingest.storage.read import dear_connections
from tests.support.databases import Database
from tests.support.processes import PROMGRES, Program
from tests.support.readapi import Client, add_functions, running_api, token

DEAR = """
CREATE FUNCTION api.dream(p_seconds float8) RETURNS void
LANGUAGE sql STABLE AS $$ SELECT pg_sleep(p_seconds) $$"""
BUSY = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE 'promgres api%' AND state <> 'idle' AND datname = current_database()"""
LONG = 100


@pytest.fixture
async def prepared(postgres_db: Database) -> Database:
    await add_functions(postgres_db)
    async with running_api(postgres_db) as api:
        await api.sql(DEAR)
    return postgres_db


@asynccontextmanager
async def _asked(api: Client, function: str, times: int) -> AsyncIterator[list[asyncio.Task[int]]]:
    """So many questions that take long, until the block ends; then their clients go away."""

    async def ask() -> int:
        return (await api.get(function, p_seconds=LONG)).status

    tasks = [asyncio.create_task(ask()) for _ in range(times)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_busy(api: Client, count: int) -> None:
    async with asyncio.timeout(60):
        while await api.sql(BUSY) != count:
            pass


async def test_cheap_questions_do_not_wait_behind_dear_ones(prepared: Database) -> None:
    patience = {"statement_timeout_seconds": LONG, "acquire_timeout_seconds": LONG}
    async with running_api(prepared, pool_size=2, **patience) as api, _asked(api, "dream", 20) as t:
        answers = [await api.get("who") for _ in range(20)]
        assert {answer.status for answer in answers} == {200}
        assert not any(task.done() for task in t)


async def test_nobody_waits_behind_another_who_asks_a_lot(prepared: Database) -> None:
    """In the dear lane as well: its turns go round. The asker of 20 has one, then another has."""
    bounds = {"statement_timeout_seconds": 1, "acquire_timeout_seconds": LONG, "quick_seconds": 0.1}
    async with running_api(prepared, pool_size=2, **bounds) as api, _asked(api, "dream", 20) as t:
        await _until_busy(api, 1)
        other = await api.get("dream", token(role="writer"), p_seconds=LONG)
        assert (other.status, other.json["code"]) == (500, "57014")
        assert sum(not task.done() for task in t) > 10


async def test_what_writes_leaves_room_for_what_reads(prepared: Database) -> None:
    async with running_api(prepared, pool_size=2, statement_timeout_seconds=LONG) as api:
        naps = [asyncio.create_task(api.post("nap", p_seconds=LONG)) for _ in range(5)]
        await _until_busy(api, 1)
        assert (await api.get("who")).status == 200
        assert not any(task.done() for task in naps)
        for task in naps:
            task.cancel()
        await asyncio.gather(*naps, return_exceptions=True)


@pytest.mark.parametrize(("pool_size", "method"), [(1, "GET"), (4, "GET"), (4, "POST")])
async def test_abandoned_questions_are_let_go(
    prepared: Database, pool_size: int, method: str
) -> None:
    """Their backends stop, their connections come back, and no turn is lost."""
    patience = {"statement_timeout_seconds": LONG, "acquire_timeout_seconds": LONG}
    async with running_api(prepared, pool_size=pool_size, **patience) as api:
        await api.get("who")
        for _ in range(4):
            ask = api.get if method == "GET" else api.post
            function = "dream" if method == "GET" else "nap"
            tasks = [asyncio.create_task(ask(function, p_seconds=LONG)) for _ in range(12)]
            await _until_busy(api, _most(pool_size, method))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _until_busy(api, 0)
        answers = await asyncio.gather(*[api.get("who") for _ in range(50)])
        assert {answer.status for answer in answers} == {200}
        metrics = (await api.request("GET", "/metrics")).text
        assert 'promgres_api_connections{state="used"} 0' in metrics


def _most(pool_size: int, method: str) -> int:
    """Backends that are at work once everything is."""
    if pool_size == 1:
        return 1
    return pool_size // 2 if method == "POST" else dear_connections(pool_size)


async def test_a_process_that_is_killed_leaves_no_question_behind(prepared: Database) -> None:
    """Nobody can cancel for it: the backends look after their client."""
    env = {"PROMGRES_LOG_FORMAT": "json", "PROMGRES_API__STATEMENT_TIMEOUT_SECONDS": str(LONG)}
    env |= {**prepared.environment(), "PROMGRES_API_LISTEN": "127.0.0.1:0"}
    with Program(PROMGRES, "api", env=env) as program:
        address = program.wait_for(r'"address": "([^"]+)".*"event": "listening"').group(1)
        async with running_api(prepared) as watcher, aiohttp.ClientSession() as session:
            url = f"http://{address}/rpc/dream?p_seconds={LONG}"
            asked = asyncio.create_task(session.get(url))
            await _until_busy(watcher, 1)
            program.kill()
            await asyncio.gather(asked, return_exceptions=True)
            await _until_busy(watcher, 0)


async def test_one_caller_has_so_many_under_way(prepared: Database) -> None:
    bounds = {"questions_per_caller": 3, "statement_timeout_seconds": LONG}
    async with running_api(prepared, **bounds) as api, _asked(api, "dream", 3) as tasks:
        await _until_busy(api, 1)
        refused = await api.get("who")
        assert (refused.status, refused.json["code"]) == (503, "PGRST003")
        assert refused.headers["Retry-After"] == "1"
        assert (await api.request("GET", "/api/v1/measure?name=m")).status == 503
        assert (await api.get("who", token(role="writer"))).status == 200
        assert not any(task.done() for task in tasks)
    async with running_api(prepared, questions_per_caller=1) as api:
        assert (await api.request("GET", "/api/v1/measure?name=m")).status == 200


async def test_slow_questions_are_said_without_their_arguments(
    prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = LogCapture()
    monkeypatch.setattr(rpc, "log", structlog.wrap_logger(None, processors=[said]))
    bounds = {"slow_seconds": 0.05, "statement_timeout_seconds": 0.3}
    async with running_api(prepared, **bounds) as api:
        await api.sql(
            "CREATE FUNCTION api.hidden(p_secret text, p_seconds float8) RETURNS void"
            " LANGUAGE sql STABLE AS $$ SELECT pg_sleep(p_seconds) $$"
        )
        await api.get("who")
        await api.get("hidden", p_secret="hush", p_seconds=0.1)
        await api.get("hidden", token(role="writer", tenant="acme"), p_secret="hush", p_seconds=9)
    slow, ended = (each for each in said.entries if each.get("function") == "hidden")
    assert slow["event"] == "a slow question"
    assert (slow["role"], slow["tenant"]) == ("web_anon", "default")
    assert ended["event"] == "a question was ended by its time"
    assert (ended["role"], ended["tenant"]) == ("writer", "acme")
    assert "hush" not in str(said.entries)
