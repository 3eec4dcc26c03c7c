"""Connections to the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from ingest.config import DatabaseSettings
from ingest.errors import DatabaseUnreachable
from ingest.sqlfiles import query
from ingest.storage.pgerrors import CONNECTION_ERRORS, TODO_OF_SQLSTATE, operator_error
from ingest.storage.session import READ_COMMITTED, WRITING, begin
from ingest.text import on_one_line

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
    AnyConnection = Connection | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool
    AnyConnection = asyncpg.Connection

CONNECT_AGAIN_SECONDS = 0.2
GREETING = (
    "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;"
    " SET jit = off"
)
"""A backend whose client's host is gone waits for the rest of its COPY, by default for two hours,
and the next daemon, which writes the same rows, waits for that backend's locks. So: 30 seconds.
Plans of ours are over many partitions, of which few are read: JIT compiles all, for seconds."""


class CleanConnection(Connection):
    """A connection that comes back clean, so that asyncpg need not clean it once more.

    What we set while it is lent does not outlive its transaction, and nobody listens; the query
    would be a round trip for nothing.
    """

    def get_reset_query(self) -> str:
        return ""

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Nothing, unless whoever had it left a transaction open."""
        if self.is_in_transaction():
            await super().reset(timeout=timeout)


async def create_pool(
    url: str,
    settings: DatabaseSettings,
    application_name: str,
    on_connect: Callable[[AnyConnection], Awaitable[None]] | None = None,
) -> Pool:
    """A pool that connects on demand.

    A server that is still recovering is waited for as long as that lasts; one that is not there,
    for `connect_timeout_seconds`.

    Args:
        on_connect: called with each new connection; if it raises, the connection is not used.

    Raises:
        DatabaseUnreachable: no server, no such database, or a login that it refuses.
    """

    pool = await lazy_pool(url, settings, application_name, on_connect)
    try:
        await wait_for_server(pool, settings.connect_timeout_seconds)
    except BaseException:
        pool.terminate()
        raise
    return pool


async def lazy_pool(
    url: str,
    settings: DatabaseSettings,
    application_name: str,
    on_connect: Callable[[AnyConnection], Awaitable[None]] | None = None,
) -> Pool:
    """The same without waiting for the server: who asks for a connection meets its absence."""

    async def greet(connection: AnyConnection) -> None:
        await connection.execute(GREETING)
        if on_connect is not None:
            await on_connect(connection)

    pool: Pool = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=settings.pool_size,
        statement_cache_size=settings.statement_cache_size,
        timeout=settings.connect_timeout_seconds,
        connection_class=CleanConnection,
        init=greet,
        server_settings={"application_name": application_name},
        max_inactive_connection_lifetime=0,
    )
    await pool
    return pool


@asynccontextmanager
async def borrow(pool: Pool, seconds: float) -> AsyncIterator[AnyConnection]:
    """A connection of the pool for so long at most; then it is cut, and what it waits for fails.

    A server or a network that is gone without a word answers no COMMIT and no ROLLBACK, and asyncpg
    would wait for them for ever. Its pool wraps what it lends, so that each call is three, and
    makes a task to take it back: a tenth of what a small request costs that has it to itself, and
    three turns of the loop between a commit and its answer. Here none of that is done for one that
    is connected and clean.
    """
    loop, lender = asyncio.get_running_loop(), cast(Any, pool)
    holder = None if lender._closing or lender._queue.empty() else lender._queue.get_nowait()
    if holder is not None and holder.is_connected():
        holder._in_use = loop.create_future()
    else:
        if holder is not None:
            lender._queue.put_nowait(holder)
        holder = (await lender.acquire())._holder
    connection: Connection = holder._con
    cut = loop.call_later(seconds, connection.terminate)
    try:
        yield connection
    except (asyncpg.InterfaceError, asyncpg.InternalClientError):
        connection.terminate()  # cut before, or asyncpg lost count of what it waits for: of no use
        raise
    finally:
        cut.cancel()
        if holder._con is connection:  # else it was cut, and its place is free
            await holder.release(None)


async def roll_back(connection: AnyConnection) -> None:
    """ROLLBACK after an error. A connection that cannot even do that is of no use to anybody: it is
    cut."""
    try:
        await connection.execute("ROLLBACK")
    except BaseException:
        with suppress(asyncpg.InterfaceError):  # cut before, and so back in the pool already
            connection.terminate()
        raise


@asynccontextmanager
async def transaction(connection: AnyConnection, beginning: str) -> AsyncIterator[None]:
    """A transaction that begins so: COMMIT at the end, ROLLBACK after an error."""
    try:
        await connection.execute(beginning)
        yield
    except BaseException:
        await roll_back(connection)
        raise
    await connection.execute("COMMIT")


_begin_writing = cache(partial(begin, READ_COMMITTED, WRITING))


def begin_writing(connection: AnyConnection) -> str:
    """How a transaction begins that has the settings of `WRITING`."""
    return _begin_writing(connection.get_server_version().major)


def writing(connection: AnyConnection) -> AbstractAsyncContextManager[None]:
    """Such a transaction."""
    return transaction(connection, begin_writing(connection))


async def copy_within(
    connection: AnyConnection,
    statements: str,
    source: memoryview | AsyncIterator[bytes],
    timeout_seconds: float,
) -> None:
    """Statements of which one is `COPY … FROM STDIN`, all in one round trip: the server reads the
    rows when it comes to that one, and goes on with the next. What they return is not seen.

    asyncpg's own `copy_to_table` makes one statement, looks whether the source is a file, and comes
    to this call.
    """
    asyncpgs = cast(Any, connection)
    asyncpgs._check_open()
    chunks, whole = (None, source) if isinstance(source, memoryview) else (source, None)
    await asyncpgs._protocol.copy_in(statements, chunks, whole, None, None, timeout_seconds)


def forget_lost_answers(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop keep silent about answers that were lost with their connection after whoever
    waited for them had given up: asyncpg leaves them behind, and who gave up has said so."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), asyncpg.ConnectionDoesNotExistError):
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


async def wait_for_server(pool: Pool, timeout_seconds: float) -> None:
    """Return once a connection can be had; see `create_pool`.

    Raises:
        DatabaseUnreachable: no server, no such database, or a login that it refuses.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            async with pool.acquire() as connection:
                return await _check_limits(connection)
        except asyncpg.CannotConnectNowError:
            deadline = time.monotonic() + timeout_seconds  # it is there, and recovering
        except ValueError as error:  # asyncpg cannot understand the URL
            raise DatabaseUnreachable(_one_line(error)) from None
        except CONNECTION_ERRORS as error:
            if time.monotonic() >= deadline:
                raise DatabaseUnreachable(_one_line(error)) from None
        except asyncpg.PostgresError as error:
            raise DatabaseUnreachable(_one_line(error)) from None
        await asyncio.sleep(CONNECT_AGAIN_SECONDS)


async def _check_limits(connection: AnyConnection) -> None:
    """Refuse limits of time that no work of ours could keep."""
    for limit in await connection.fetch(query("session/too_short")):
        raise DatabaseUnreachable(
            f"{limit['name']} is {limit['value']} for the login {limit['login']}: too short for any"
            f" work; ALTER ROLE {limit['login']} SET {limit['name']} = 0, or ALTER DATABASE"
        )


def _one_line(error: BaseException) -> str:
    what = on_one_line(error)
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in TODO_OF_SQLSTATE:
        return str(operator_error(error))
    return f"cannot connect to the database: {what}; {_what_to_do(error)}"


def _what_to_do(error: BaseException) -> str:
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return (
            "check the URL; for the login promgres_api, run `promgres migrate` with the same"
            " PROMGRES_API_PASSWORD"
        )
    return "is it running, and is the database URL right?"
