"""Reading measures and events on the write side's connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ingest.errors import QueryRefused, Unavailable
from ingest.model import TenantId
from ingest.storage.database import LAST_WORDS_SECONDS
from ingest.storage.pgerrors import CONNECTION_ERRORS
from ingest.storage.pool import AnyConnection, Pool, borrow, transaction
from ingest.storage.session import READ_ONLY, READING, begin, set_config

READS_AT_ONCE = 1
"""The connections are for writing; who reads much asks the read side, which has its own."""

SET_TENANT = set_config("promgres.tenant_id")

AWAY_SQLSTATES = ("08", "53", "57P")
"""How SQLSTATEs begin that say the same as no answer: try again later."""


class RecordPage(NamedTuple):
    """What a statement of `ingest.records` returns; the last two are of the last row, if more
    follow."""

    body: bytes
    next_time: datetime | None
    next_id: UUID | None


class RecordReader:
    """Runs such statements, few at a time.

    Args:
        timeout_seconds: of the statement.
        wait_seconds: until it may begin.
    """

    def __init__(self, pool: Pool, timeout_seconds: float, wait_seconds: float) -> None:
        self._pool = pool
        timeout_ms = max(1, round(timeout_seconds * 1000))
        self._settings = {**READING, "statement_timeout": str(timeout_ms)}
        self._most_seconds = timeout_seconds + LAST_WORDS_SECONDS
        self._wait_seconds = wait_seconds
        self._turn = asyncio.Semaphore(READS_AT_ONCE)

    async def read(self, tenant_id: TenantId, sql: str, parameters: Sequence[object]) -> RecordPage:
        """One read-only transaction, in which the tenant and the statement's time are set.

        Raises:
            Unavailable: too many want to read, or the database is away.
            QueryRefused: it answers with an error.
        """
        try:
            await asyncio.wait_for(self._turn.acquire(), self._wait_seconds)
        except TimeoutError:
            raise Unavailable("too many reads here; the read side has more room") from None
        try:
            async with (
                asyncio.timeout(self._most_seconds),
                borrow(self._pool, self._most_seconds) as connection,
            ):
                return await self._read(connection, tenant_id, sql, parameters)
        except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:  # no connection, or no longer
            raise Unavailable("the database is not reachable") from error
        finally:
            self._turn.release()

    async def _read(
        self, connection: AnyConnection, tenant_id: TenantId, sql: str, parameters: Sequence[object]
    ) -> RecordPage:
        version = connection.get_server_version().major
        try:
            async with transaction(connection, begin(READ_ONLY, self._settings, version)):
                await connection.execute(SET_TENANT, str(tenant_id))
                row = await connection.fetchrow(sql, *parameters)
        except asyncpg.PostgresError as error:
            raise _refused(error) from error
        assert row is not None
        return RecordPage(row["body"], row["next_time"], row["next_id"])


def _refused(error: asyncpg.PostgresError) -> QueryRefused | Unavailable:
    sqlstate = error.sqlstate or ""
    if sqlstate.startswith(AWAY_SQLSTATES):
        return Unavailable("the database is not reachable")
    return QueryRefused(error.message or type(error).__name__, sqlstate)
