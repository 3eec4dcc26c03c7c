"""Questions to a database that change nothing and wait for nobody: what `promgres doctor` asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from ingest.config import DatabaseSettings
from ingest.errors import DatabaseUnreachable, QueryRefused
from ingest.storage.pgerrors import translated, went_away
from ingest.storage.pool import Pool, create_pool, transaction
from ingest.storage.session import READ_ONLY, READING, begin

MOST_SECONDS_TO_CONNECT = 5.0

AS_IT_IS = ("synchronous_commit",)
"""What the doctor looks at in its own session: what the server, the database or the role says."""

LIMITS = {
    **{name: value for name, value in READING.items() if name not in AS_IT_IS},
    "statement_timeout": "10s",
    "lock_timeout": "1s",
}
"""Names in answers come with their schema, because no schema of ours is on the path."""

ENDED_SQLSTATES = ("08", "57P")
"""Connection exceptions; the server shuts down, crashed, or is not ready yet."""

Row = Mapping[str, Any]


class Inspection:
    """Read-only questions, each in a transaction of its own."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ask(self, query: str, *arguments: object) -> list[Row]:
        """All rows of one query.

        Raises:
            QueryRefused: the database answers with an error.
            DatabaseUnreachable: it answers no longer.
        """
        with translated(_refused, went_away):
            async with self._pool.acquire() as connection:
                version = connection.get_server_version().major
                async with transaction(connection, begin(READ_ONLY, LIMITS, version)):
                    return [dict(row) for row in await connection.fetch(query, *arguments)]


@asynccontextmanager
async def inspect(url: str, settings: DatabaseSettings) -> AsyncIterator[Inspection]:
    """A database to ask, through one connection.

    Raises:
        DatabaseUnreachable: no server, one that still recovers, or a login that it refuses.
    """
    seconds = min(settings.connect_timeout_seconds, MOST_SECONDS_TO_CONNECT)
    one = settings.model_copy(update={"pool_size": 1, "connect_timeout_seconds": seconds})
    try:
        async with asyncio.timeout(2 * seconds):
            pool = await create_pool(url, one, "promgres doctor")
    except TimeoutError:
        raise DatabaseUnreachable(
            "the database is starting or recovering; its log says how far it is"
        ) from None
    try:
        yield Inspection(pool)
    finally:
        pool.terminate()


def _refused(error: asyncpg.PostgresError) -> QueryRefused | DatabaseUnreachable:
    if (error.sqlstate or "").startswith(ENDED_SQLSTATES):
        return went_away(error)
    return QueryRefused(" ".join(str(error).split()))
