"""Samples put into a database and read out of its rollups, in SQL alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg

from ingest.storage.engine import Engine
from ingest.storage.engines import load_engine
from tests.support.databases import Database

COLUMNS = ["time", "series_id", "value", "exact"]
Row = tuple[datetime, int, float, Decimal | None]

REFRESH_JOB = """
    SELECT job_id FROM timescaledb_information.jobs
    WHERE proc_schema = 'internal' AND proc_name = 'refresh_rollups'
"""


SETTINGS_ARE_KNOWN = "UPDATE internal.setting SET changed_at = now() - interval '1 hour'"
"""TimescaleDB: every write side has learnt the retention, so that what is past it may go."""


async def drop_expired(connection: asyncpg.Connection) -> None:
    """TimescaleDB: the job of retention, now."""
    await connection.execute(SETTINGS_ARE_KNOWN)
    job = await connection.fetchval(
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'drop_expired'"
    )
    await connection.execute(f"CALL run_job({job})")


@dataclass(frozen=True)
class Samples:
    """A migrated database, and one connection to it."""

    database: Database
    pool: asyncpg.Pool
    connection: asyncpg.Connection
    engine: Engine

    async def series(
        self, name: str, schema: str = "common", target: str = "internal", **labels: str
    ) -> int:
        """The id of a series, created if it is new."""
        text = json.dumps({"__name__": name, **labels}, sort_keys=True)
        key = hashlib.blake2b(f"{target}|{schema}|{text}".encode(), digest_size=16).digest()
        series_id: int = await self.connection.fetchval(
            "SELECT series_id FROM internal.resolve_series($1, $2, $3, $4, $5, $6)",
            [key], [1], [target], [name], [schema], [text],
        )  # fmt: skip
        return series_id

    async def copy(self, rows: Sequence[Row], target: str = "internal") -> int:
        """COPY rows in as the daemon does; how many were new."""
        moments = [int(row[0].timestamp() * 1000) for row in rows]
        self.engine.forget(target)  # as after the first attempt, where others packed meanwhile
        async with self.idle() as pool:
            await self.engine.prepare(pool, target, min(moments), max(moments))
        async with self.connection.transaction():
            await self.connection.copy_records_to_table(
                "sample", schema_name=f"staging_{target}", columns=COLUMNS, records=rows
            )
            return int(await self.connection.fetchval("SHOW promgres.new_rows"))

    async def settle(self) -> None:
        """All background work that is due, done now."""
        if self.engine.name == "timescaledb":
            job = await self.connection.fetchval(REFRESH_JOB)
            await self.connection.execute(f"CALL run_job({job})")
            return
        while await self.engine.work(self.pool):
            pass

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[asyncpg.Pool]:
        """The pool, while no transaction is open on the connection."""
        assert not self.connection.is_in_transaction()
        yield self.pool

    async def rollup(
        self, width: str, name: str, schema: str = "common", target: str = "internal"
    ) -> list[asyncpg.Record]:
        """Rows of one metric, oldest first."""
        return await self.connection.fetch(
            f"SELECT * FROM {target}.rollup_{width}"
            " WHERE tenant_id = 1 AND schema = $1 AND name = $2 ORDER BY bucket",
            schema,
            name,
        )


@asynccontextmanager
async def samples_of(database: Database) -> AsyncIterator[Samples]:
    """Everything a test of the tables needs, closed at the end of the block."""
    async with asyncpg.create_pool(
        database.url, min_size=0, max_size=4, statement_cache_size=database.statement_cache_size,
        max_inactive_connection_lifetime=0,  # as ours have it, since `borrow` relies on that
    ) as pool:  # fmt: skip
        connection = await asyncpg.connect(
            database.url, statement_cache_size=database.statement_cache_size
        )
        try:
            engine = await load_engine(connection, database.settings())
            yield Samples(database, pool, connection, engine)
        finally:
            await connection.close()


def moment(text: str) -> datetime:
    """A moment in UTC: `2026-01-31 12:00:05.250`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def plain(rows: Iterable[asyncpg.Record], *columns: str) -> list[tuple[object, ...]]:
    """Rows as tuples of some columns."""
    return [tuple(row[column] for column in columns) for row in rows]
