"""A server that falls silent in the middle of a transaction stops no writer for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from ingest.copy_samples import encode_samples
from ingest.storage import database as storage
from ingest.storage.database import DATABASE_ERRORS, Touched
from ingest.storage.engines import load_engine
from ingest.storage.pool import create_pool
from ingest.stores import TARGETS
from tests.engines.silent_server import SilentServer
from tests.support.databases import Database
from tests.support.rows import rows_of

NOON_MS = 1_780_000_000_000
MINUTE = Touched([NOON_MS // 60_000 * 60_000])


@dataclass
class Silence:
    """The write side's view of a database, and what lies between the two."""

    server: SilentServer
    database: storage.Database

    async def append(self, series_id: int) -> bool:
        """One sample."""
        payload = encode_samples(rows_of((series_id, NOON_MS, 1.0)))
        stored = await self.database.append_samples(
            "internal", "hot", [payload], MINUTE, lambda: None
        )
        return stored is not None


@pytest_asyncio.fixture
async def silence(postgres_db: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Silence]:
    monkeypatch.setattr(storage, "LAST_WORDS_SECONDS", 0.1)
    server = SilentServer(postgres_db.url)
    settings = postgres_db.settings()
    async with server.listening() as url:
        pool = await create_pool(url, settings.database, "test")
        async with pool.acquire() as connection:
            engine = await load_engine(connection, settings)
        for target in TARGETS:
            await engine.prepare(pool, target, NOON_MS, NOON_MS)
        yield Silence(server, storage.Database(pool, command_timeout_seconds=1))
        pool.terminate()


@pytest.mark.parametrize("message", [b"mark_samples", b"PGCOPY"])
async def test_a_silent_connection_is_given_up(silence: Silence, message: bytes) -> None:
    silence.server.silent_at = message
    async with asyncio.timeout(60):
        with pytest.raises(DATABASE_ERRORS):
            await silence.append(1)
        assert silence.server.fell_silent.is_set()
        assert await silence.append(2)


async def test_a_silent_server_is_not_ready(silence: Silence) -> None:
    silence.server.silent_at = b"pg_logical_emit_message"
    async with asyncio.timeout(60):
        assert not await silence.database.ready()
        assert await silence.database.ready()
