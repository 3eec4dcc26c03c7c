"""Connections of the read side, and the one transaction that a request gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from ingest.config import Settings
from ingest.logs import get_logger
from ingest.pushed import Page
from ingest.pushed import Statement as PushedStatement
from ingest.readapi.problems import Problem, database_away, no_role
from ingest.readapi.statement import Statement
from ingest.storage.pgerrors import CONNECTION_ERRORS
from ingest.storage.pool import CleanConnection, Pool, wait_for_server

if TYPE_CHECKING:
    Proxy = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

MOST_WAITING = 1000
"""Requests that may wait for a connection; the next one is told to come back."""

GRACE_SECONDS = 5.0
"""How much longer than a statement may take we wait for a server that says nothing."""

END = "; RESET ROLE; RESET ALL; SELECT pg_advisory_unlock_all()"
"""Whatever a function did to its session ends with its transaction, in the same round trip."""

BEGIN = {
    True: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    False: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
}
"""By whether it only reads, whatever the database's or a role's defaults are. All steps of a
reading function see one moment: else a rollup that is stored between two of them is in neither what
is stored nor what is still computed."""

log = get_logger("api")


class Answer(NamedTuple):
    """What a call returned: the body (None for void), its rows, the function's version."""

    body: bytes | None
    rows: int
    version: str | None


class ReadDatabase:
    """The read side's pool. It connects on demand, so a database that is away only delays answers.

    Args:
        url: of a login that is a member of `authenticator`.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self._acquire_seconds = settings.api.acquire_timeout_seconds
        self._longest_seconds = settings.api.statement_timeout_seconds + GRACE_SECONDS
        self._connect_seconds = settings.database.connect_timeout_seconds
        self._size = settings.api.pool_size
        self._waiting = 0
        self._away = False
        self._pool: Pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=self._size,
            statement_cache_size=settings.database.statement_cache_size,
            timeout=settings.database.connect_timeout_seconds,
            connection_class=CleanConnection,
            server_settings={"application_name": "promgres api"},
        )

    async def open(self) -> None:
        """Make the pool ready; nothing is connected yet."""
        await self._pool

    async def wait(self) -> None:
        """Connect once.

        Raises:
            DatabaseUnreachable: nobody answers there, or refuses the login.
        """
        await wait_for_server(self._pool, self._connect_seconds)

    async def close(self) -> None:
        """Let go of every connection, with patience only for those in use."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._pool.close()

    @property
    def connections(self) -> tuple[int, int]:
        """How many there are, and how many of them are in use."""
        size = self._pool.get_size()
        return size, size - self._pool.get_idle_size()

    async def catalogue(self) -> str:
        """The document of `internal.api_catalogue()`.

        Raises:
            Problem: 503, the database is away.
            asyncpg.PostgresError: the function is not there or not ours to call.
        """
        async with self._reading() as connection:
            document: str = await connection.fetchval("SELECT internal.api_catalogue()::text")
        return document

    async def tenant_id(self, name: str) -> int | None:
        """The id of a tenant, None if there is none of that name."""
        async with self._reading() as connection:
            number: int | None = await connection.fetchval(
                "SELECT internal.tenant_id_of($1::text)", name
            )
        return number

    async def executable(self, role: str, oids: list[int]) -> set[int]:
        """Which of these functions a role may execute."""
        async with self._reading() as connection:
            rows = await connection.fetch(
                "SELECT f FROM unnest($2::oid[]) AS f"
                " WHERE has_function_privilege($1::text, f, 'EXECUTE')",
                role,
                oids,
            )
        return {row["f"] for row in rows}

    @asynccontextmanager
    async def call(
        self, statement: Statement, settings: Mapping[str, str], read_only: bool
    ) -> AsyncIterator[Answer]:
        """Call a function in a transaction of its own; leaving the block commits.

        Four round trips: BEGIN, all settings, the call, COMMIT. An exception in the block rolls
        back.

        Args:
            settings: set for this transaction only, `role` among them.

        Raises:
            Problem: 503 or 504, no connection.
            asyncpg.PostgresError: what the database said.
        """
        async with self._connection() as connection, _transaction(connection, read_only):
            await _set(connection, settings)
            row = await connection.fetchrow(statement.sql, *statement.parameters)
            assert row is not None
            yield Answer(row["body"], row["rows"], row["version"])

    async def pushed(self, statement: PushedStatement, settings: Mapping[str, str]) -> Page:
        """Run a statement of `ingest.pushed` in a read-only transaction of its own.

        Args:
            settings: set for this transaction only; it runs as the login itself.

        Raises:
            Problem: 503 or 504, no connection.
            asyncpg.PostgresError: what the database said.
        """
        async with self._connection() as connection, _transaction(connection, read_only=True):
            await _set(connection, settings)
            row = await connection.fetchrow(statement.sql, *statement.parameters)
        assert row is not None
        return Page.of(row["body"], row["next_time"], row["next_id"])

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Proxy]:
        """A connection in a transaction: a pooler may not switch servers between its messages."""
        async with self._connection() as connection, _transaction(connection, read_only=True):
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Proxy]:
        """A connection, given back however the block ends; its silence is bounded.

        Raises:
            Problem: 503, the database is away or too many wait; 504, all connections stay busy.
        """
        connection = await self._acquire()
        try:
            async with asyncio.timeout(self._longest_seconds):
                yield connection
        except CONNECTION_ERRORS as error:
            raise self._lost(error, "PGRST001") from error
        finally:
            with suppress(*CONNECTION_ERRORS, asyncpg.PostgresError):
                await self._pool.release(connection, timeout=GRACE_SECONDS)

    async def _acquire(self) -> Proxy:
        if self._waiting >= MOST_WAITING:
            raise Problem(503, "PGRST003", "Too many requests wait for a connection.")
        self._waiting += 1
        try:
            connection = await self._pool.acquire(timeout=self._acquire_seconds)
        except TimeoutError as error:
            if self._pool.get_size() >= self._size:
                message = "Timed out acquiring connection from connection pool."
                raise Problem(504, "PGRST003", message) from None
            raise self._lost(error, "PGRST000") from error
        # ValueError: the URL means nothing to the driver; the process is about to say so and end.
        except (*CONNECTION_ERRORS, asyncpg.PostgresError, ValueError) as error:
            raise self._lost(error, "PGRST000") from error
        finally:
            self._waiting -= 1
        if self._away:
            self._away = False
            log.info("the database is back")
        return connection

    def _lost(self, error: BaseException, code: str) -> Problem:
        """What the client is told; why, and only once, is for the log."""
        if not self._away:
            self._away = True
            log.warning("the database is away", reason=_one_line(error))
        return database_away(code)


@asynccontextmanager
async def _transaction(connection: Proxy, read_only: bool) -> AsyncIterator[None]:
    """COMMIT at the end, ROLLBACK after an error; a connection that can do neither is closed."""
    await connection.execute(BEGIN[read_only])
    try:
        try:
            yield
        except Exception:
            await connection.execute("ROLLBACK" + END)
            raise
        await connection.execute("COMMIT" + END)
    except (*CONNECTION_ERRORS, asyncio.CancelledError):
        connection.terminate()
        raise


async def _set(connection: Proxy, settings: Mapping[str, str]) -> None:
    try:
        await connection.fetchval(
            "SELECT count(set_config(s.name, s.value, true))"
            " FROM unnest($1::text[], $2::text[]) AS s(name, value)",
            list(settings),
            list(settings.values()),
        )
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        raise no_role(settings.get("role")) from error  # it was dropped or revoked just now


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
