"""Whether the database takes writes: asked of it without writing anything."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from ingest.storage import database as storage
from ingest.storage.pool import create_pool
from tests.support.databases import Database, connect


@pytest_asyncio.fixture
async def writing(engine_db: Database) -> AsyncIterator[storage.Database]:
    pool = await create_pool(engine_db.url, engine_db.settings().database, "test")
    yield storage.Database(pool)
    pool.terminate()


@pytest.mark.parametrize("is_doubtful", [False, True])
async def test_a_database_that_takes_writes(writing: storage.Database, is_doubtful: bool) -> None:
    """To ask leaves nothing behind."""
    async with writing.pool.acquire() as connection:
        tables = "SELECT count(*) FROM pg_class"
        before = await connection.fetchval(tables)
    assert await writing.ready(is_doubtful)
    assert await writing.ready(is_doubtful)
    async with writing.pool.acquire() as connection:
        assert await connection.fetchval(tables) == before
        assert await connection.fetchval("SELECT count(*) FROM internal.sample") == 0


@pytest.mark.parametrize("is_doubtful", [False, True])
async def test_a_database_that_only_reads(engine_db: Database, is_doubtful: bool) -> None:
    async def only_read(connection: asyncpg.Connection) -> None:
        await connection.execute("SET default_transaction_read_only = on")

    pool = await create_pool(engine_db.url, engine_db.settings().database, "test", only_read)
    try:
        assert not await storage.Database(pool).ready(is_doubtful)
    finally:
        async with pool.acquire() as connection:  # of PGlite, every session is the same
            await connection.execute("SET default_transaction_read_only = off")
        pool.terminate()


async def test_tables_that_somebody_holds(postgres_db: Database) -> None:
    """Writers would wait for them."""
    pool = await create_pool(postgres_db.url, postgres_db.settings().database, "test")
    async with connect(postgres_db) as holder:
        holding = holder.transaction()
        await holding.start()
        await holder.execute("LOCK TABLE internal.sample IN SHARE MODE")
        assert not await storage.Database(pool).ready()
        await holding.rollback()
        assert await storage.Database(pool).ready()
    pool.terminate()
