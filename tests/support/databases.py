"""What a test gets when it asks for a database, whatever engine is under it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import asyncpg
from pydantic import SecretStr

from ingest.config import DatabaseSettings, Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Database:
    """A database that belongs to one test.

    Attributes:
        url: for asyncpg, psql, and `PROMGRES_DATABASE_URL`.
        engine: what is under it.
        one_session: PGlite has one backend for all connections: they share its session, which is
            a superuser's, whoever logs in, and asyncpg may cache no statements.
    """

    url: str
    engine: Literal["postgres", "timescaledb"]
    one_session: bool = False

    @property
    def statement_cache_size(self) -> int:
        """What asyncpg may cache here."""
        return 0 if self.one_session else 100

    @property
    def samples_in(self) -> str:
        """The table of each target's schema that rows of samples stand in."""
        return "hot" if self.engine == "postgres" else "sample"

    @property
    def histograms_in(self) -> str:
        """The table of schema internal that rows of native histograms stand in."""
        return "histogram_row" if self.engine == "postgres" else "histogram"

    @property
    def api_url(self) -> str:
        """The same for the read side's login role."""
        return self.url.replace("//postgres@", "//promgres_api@")

    def settings(self, **changes: Any) -> Settings:
        """Settings of a daemon or read API on this database; `changes` win."""
        cache = DatabaseSettings(statement_cache_size=self.statement_cache_size)
        ours: dict[str, Any] = {
            "database_url": SecretStr(self.url),
            "api_database_url": SecretStr(self.api_url),
            "database": cache,
        }
        return Settings(**(ours | changes))

    def environment(self) -> dict[str, str]:
        """The same for a process: its `PROMGRES_*` variables."""
        return {
            "PROMGRES_DATABASE_URL": self.url,
            "PROMGRES_API_DATABASE_URL": self.api_url,
            "PROMGRES_DATABASE__STATEMENT_CACHE_SIZE": str(self.statement_cache_size),
        }


@asynccontextmanager
async def connect(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, closed at the end of the block."""
    connection = await asyncpg.connect(
        database.url, statement_cache_size=database.statement_cache_size
    )
    try:
        yield connection
    finally:
        await connection.close()


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from a fixture that is not async, on a loop that leaves no trace."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


async def execute(url: str, *statements: str) -> None:
    """Run statements on a connection of their own, each by itself."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
