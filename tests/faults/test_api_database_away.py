"""The database goes away under the read API: 503 with Retry-After, and back by itself."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable

import aiohttp
import pytest

from ingest.config import Settings
from ingest.errors import DatabaseAway
from ingest.storage.read import ReadDatabase
from tests.support.databases import Database, connect, execute
from tests.support.processes import child, wait_until
from tests.support.readapi import Client, add_functions, running_api
from tests.support.stack import running_stack


async def test_no_new_connection_and_the_old_ones_ended(postgres_db: Database) -> None:
    await add_functions(postgres_db)
    async with running_api(postgres_db) as api:
        assert (await api.get("who")).status == 200
        async with _shut(postgres_db):
            for _ in range(3):
                answer = await api.get("who")
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "1"
                assert answer.json["code"] in ("PGRST000", "PGRST001")
                assert set(answer.json) == {"code", "message", "details", "hint"}
            assert (await api.request("GET", "/-/ready")).status == 503
            assert (await api.request("GET", "/-/healthy")).status == 200
        assert (await api.get("who")).status == 200
        assert (await api.request("GET", "/-/ready")).status == 200


async def test_a_url_that_means_nothing_is_a_database_away() -> None:
    """`promgres api` says so and ends; whoever asks in that moment gets no traceback."""
    database = ReadDatabase("postgresql://someone@/postgres?port=nonsense", Settings())
    await database.open()
    with pytest.raises(DatabaseAway):
        await database.catalogue()


async def test_a_request_whose_backend_is_ended_is_503(postgres_db: Database) -> None:
    await add_functions(postgres_db)
    async with running_api(postgres_db) as api:
        await api.get("who")
        asking = asyncio.create_task(api.get("nap", p_seconds=30))
        await _end_the_nap(api)
        answer = await asking
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await api.get("who")).status == 200


async def test_kill_9_of_the_database_under_load() -> None:
    """Every answer is 200 or 503 with four keys; 200 again without a restart of ours."""
    with running_stack() as stack:
        ended = asyncio.Event()
        seen: Counter[int] = Counter()
        url = f"{stack.read_url}get_latest_geo_coordinates"
        async with aiohttp.ClientSession() as session:
            readers = [asyncio.create_task(_read(session, url, seen, ended)) for _ in range(4)]
            await _wait(lambda: seen[200] >= 20)
            reader = child(stack.program.pid, "promgres api").pid
            child(stack.program.pid, "bin/postgres -D").send_signal(signal.SIGKILL)
            await _wait(lambda: seen[503] > 0)
            before = seen[200]
            await _wait(lambda: seen[200] > before + 20)
            ended.set()
            await asyncio.gather(*readers)
        assert set(seen) == {200, 503}
        assert child(stack.program.pid, "promgres api").pid == reader


async def _read(
    session: aiohttp.ClientSession, url: str, seen: Counter[int], ended: asyncio.Event
) -> None:
    while not ended.is_set():
        async with session.get(url) as answer:
            document = await answer.json()
            seen[answer.status] += 1
            if answer.status == 503:
                assert answer.headers["Retry-After"] == "1"
                assert set(document) == {"code", "message", "details", "hint"}
        await asyncio.sleep(0.01)  # leave the processors to what is to come back


async def _wait(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition, 60)


async def _end_the_nap(api: Client) -> None:
    ended = 0
    while not ended:
        ended = await api.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name LIKE 'promgres api%' AND query LIKE '%\"nap\"%'"
            " AND state = 'active'"
        )


class _shut:
    """A database that takes no connections while the block runs."""

    def __init__(self, database: Database) -> None:
        head, _, rest = database.url.partition("?")
        base, _, self.name = head.rpartition("/")
        self.admin = f"{base}/postgres?{rest}"
        self.database = database

    async def __aenter__(self) -> None:
        async with connect(self.database):
            pass
        await execute(
            self.admin,
            f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false",
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE datname = '{self.name}'",
        )

    async def __aexit__(self, *_: object) -> None:
        await execute(self.admin, f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")
