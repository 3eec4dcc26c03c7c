"""The socket server that tests TimescaleDB: as much of PostgreSQL as our own code relies on."""

from __future__ import annotations

from tests.support.databases import Database, connect


async def test_answers(empty_timescale_db: Database) -> None:
    async with connect(empty_timescale_db) as connection:
        assert await connection.fetchval("SELECT 1") == 1
