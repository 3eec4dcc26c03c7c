"""Connections of the read side, and the one transaction that a request gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg

from ingest.config import Settings
from ingest.http.problems import Problem, database_away, no_role
from ingest.logs import get_logger
from ingest.rpc.buckets import BucketCheck
from ingest.rpc.lanes import (
    OWN_CONNECTIONS,
    PUSH_CONNECTIONS,
    Turns,
    dear_connections,
)
from ingest.rpc.statement import ROW_ENDS, Statement
from ingest.storage.pgerrors import CONNECTION_ERRORS
from ingest.storage.pool import CleanConnection, Pool, wait_for_server
from ingest.storage.reading import Batch, first_batch, next_batch
from ingest.storage.session import READ_COMMITTED, READ_ONLY, READING, begin, set_config

if TYPE_CHECKING:
    Proxy = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

NAME, DEAR_NAME = "promgres api", "promgres api dear"
"""What connections are called, by which `promgres up` knows whom to make nicer (sql/embedded)."""

MOST_WAITING = 1000
"""Requests that may wait for a connection; the next one is told to come back."""

GRACE_SECONDS = 5.0
"""How much longer than a statement may take we wait for a server that says nothing."""

END = (
    "; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *; DISCARD TEMP;"
    " SELECT pg_catalog.pg_advisory_unlock_all()"
)
"""Whatever a function did to its session ends with its transaction, in the same round trip:
settings, cursors, temporary tables, locks."""

log = get_logger("api")


BATCH_PIECES = 1000
"""Pieces of an answer that are in memory at once, 16 KiB each at most."""

GONE = {"client_connection_check_interval": "500"}
"""Milliseconds after which a backend notices that we are gone, and ends what it does for us."""


class TakesLong(Exception):
    """The question is not for the quick lane: it can be asked again in the other."""


class Answer:
    """What a call answers: how long it is, and then, piece by piece, what.

    Attributes:
        rows: of the result.
        version: of the function.
        until: by `time.monotonic()`, when its connection is needed elsewhere.
    """

    def __init__(
        self, connection: Proxy, statement: Statement, first: Batch, quick: bool, until: float
    ) -> None:
        about, *pieces = first.rows
        self.rows: int = about["rows"]
        self._bytes: int = about["bytes"]
        self.version: str | None = about["version"]
        self._quick = quick
        self.until = until
        self._connection = connection
        self._statement = statement
        self._batch = Batch(pieces if about["piece"] is None else first.rows[:1], first.more)

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        statement = self._statement
        if not self.rows:
            return len(statement.empty)
        return len(statement.opening) + self._bytes - statement.skipped + len(statement.closing)

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return self._batch.more is None

    def stream(self) -> AsyncIterator[bytes]:
        """The parts of an answer that is too long to be read at once.

        Raises:
            TakesLong: it is in the quick lane.
        """
        if self._quick:
            raise TakesLong
        return self.parts()

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, some hundred KiB after the other.

        Raises:
            asyncpg.PostgresError: the rest of it cannot be had.
        """
        batch, begins = self._batch, True
        if not self.rows:
            yield self._statement.empty
            return
        while True:
            pieces = [row[0] for row in batch.rows]
            part = b"".join([each[1:] if each[0] == ROW_ENDS else each for each in pieces])
            if begins:
                part = self._statement.opening + part[self._statement.skipped :]
                begins = False
            if batch.more is None:
                yield part + self._statement.closing
                return
            yield part
            batch = await next_batch(self._connection, batch.more, BATCH_PIECES)

    async def whole(self) -> bytes:
        """All of the body."""
        return b"".join([part async for part in self.parts()])


class _Lane:
    """Connections for one kind of questions, and whose turn it is."""

    def __init__(self, pool: Pool, most: int) -> None:
        self.pool = pool
        self.most = most
        self.turns = Turns(most)


class ReadDatabase:
    """The read side's connections. They are made on demand, so a database that is away only delays
    answers.

    Args:
        url: of a login that is a member of `authenticator`.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._settings = settings
        self._acquire_seconds = settings.api.acquire_timeout_seconds
        self._statement_seconds = settings.api.statement_timeout_seconds
        self._quick_seconds = settings.api.quick_seconds
        self._longest_seconds = self._statement_seconds + GRACE_SECONDS
        self._connect_seconds = settings.database.connect_timeout_seconds
        self._waiting = 0
        self._away = False
        self._notices: bool | None = None
        self._beginnings: dict[tuple[int, float, bool], str] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        size = settings.api.pool_size
        dear = dear_connections(size)
        self._quick = self._lane(size)
        self._dear = self._lane(dear, DEAR_NAME) if dear else self._quick
        self._writes = Turns(max(1, size // 2))
        self._pushes = self._lane(PUSH_CONNECTIONS)
        self._own = self._lane(OWN_CONNECTIONS)
        self._lanes = [self._quick, self._dear, self._pushes, self._own]

    def _lane(self, most: int, name: str = NAME) -> _Lane:
        async def greet(connection: Any) -> None:
            if self._notices is None:
                self._notices = await _notices(connection)

        pool: Pool = asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=most,
            statement_cache_size=self._settings.database.statement_cache_size,
            timeout=self._connect_seconds,
            connection_class=CleanConnection,
            init=greet,
            server_settings={"application_name": name},
        )
        return _Lane(pool, most)

    async def open(self) -> None:
        """Make the pool ready; nothing is connected yet."""
        for lane in self._lanes:
            await lane.pool

    async def wait(self) -> None:
        """Connect once.

        Raises:
            DatabaseUnreachable: nobody answers there, or refuses the login.
        """
        await wait_for_server(self._own.pool, self._connect_seconds)

    async def close(self) -> None:
        """Let go of every connection, with patience only for those in use."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await asyncio.gather(*self._leaving, return_exceptions=True)
                await asyncio.gather(*[lane.pool.close() for lane in set(self._lanes)])

    @property
    def connections(self) -> tuple[int, int]:
        """How many there are, and how many of them are in use."""
        pools = [lane.pool for lane in set(self._lanes)]
        size = sum(pool.get_size() for pool in pools)
        return size, size - sum(pool.get_idle_size() for pool in pools)

    @property
    def has_lanes(self) -> bool:
        """Whether dear questions are asked elsewhere."""
        return self._dear is not self._quick and self._quick_seconds < self._statement_seconds

    async def catalogue(self) -> str:
        """The document of `internal.api_catalogue()`.

        Raises:
            Problem: 503, the database is away.
            asyncpg.PostgresError: the function is not there or not ours to call.
        """
        async with self._reading() as connection:
            document: str = await connection.fetchval("SELECT internal.api_catalogue()::text")
        return document

    async def packs(self) -> list[str] | None:
        """Packs that `promgres migrate` has switched on; None while it was not there."""
        try:
            async with self._reading() as connection:
                packs: list[str] = await connection.fetchval("SELECT internal.recorded_packs()")
        except (
            asyncpg.UndefinedFunctionError,
            asyncpg.InvalidSchemaNameError,
            asyncpg.InsufficientPrivilegeError,
        ):
            return None
        return packs

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
        self,
        statement: Statement,
        check: BucketCheck | None,
        settings: Mapping[str, str],
        read_only: bool,
        caller: Hashable,
        dear: bool,
    ) -> AsyncIterator[Answer]:
        """Call a function in a transaction of its own; leaving the block commits.

        Four round trips: BEGIN, all settings, the call, COMMIT; one more for a function with
        buckets, and one for each further batch of a long answer. An exception in the block rolls
        back.

        Args:
            check: asked before the function is.
            settings: set for this transaction only, `role` among them.
            caller: who asks: callers have their turns one after the other.
            dear: it took too long in the quick lane.

        Raises:
            Problem: 503 or 504, no connection; 400, too many buckets.
            TakesLong: it has to be asked again with `dear`.
            asyncpg.PostgresError: what the database said.
        """
        quick = read_only and not dear and self.has_lanes
        seconds = self._quick_seconds if quick else self._statement_seconds
        lane = self._dear if dear else self._quick
        longest = self._longest_seconds + self._settings.api.stream_timeout_seconds
        async with (
            nullcontext() if read_only else self._turn(self._writes, caller),
            self._connection(lane, longest, caller) as connection,
            _transaction(connection, self._begin(connection, seconds, read_only)),
        ):
            await _set(connection, settings)
            try:
                if check is not None:
                    await check.refuse(connection)
                first = await first_batch(
                    connection, statement.sql, statement.parameters, BATCH_PIECES
                )
            except asyncpg.QueryCanceledError as error:
                if quick:
                    raise TakesLong from error
                raise
            until = monotonic() + self._settings.api.stream_timeout_seconds
            yield Answer(connection, statement, first, quick, until)

    async def pushed(
        self,
        sql: str,
        parameters: Sequence[object],
        settings: Mapping[str, str],
        most_bytes: int,
        caller: Hashable,
    ) -> asyncpg.Record | None:
        """Run a statement of `ingest.records` in a read-only transaction of its own.

        Args:
            settings: set for this transaction only; it runs as the login itself.
            most_bytes: of the body.
            caller: who asks: callers have their turns one after the other.

        Returns:
            The one row, `body bytea, next_time timestamptz, next_id uuid`; None if it is longer.

        Raises:
            Problem: 503 or 504, no connection.
            asyncpg.PostgresError: what the database said.
        """
        sql = (
            f"SELECT CASE WHEN pg_catalog.octet_length(q.body) <= {most_bytes} THEN q.body END"  # noqa: S608
            f" AS body, q.next_time, q.next_id FROM ({sql}) AS q"
        )
        async with (
            self._connection(self._pushes, self._longest_seconds, caller) as connection,
            _transaction(connection, self._begin(connection, self._statement_seconds)),
        ):
            await _set(connection, settings)
            row = await connection.fetchrow(sql, *parameters)
        assert row is not None
        return None if row["body"] is None else row

    def _begin(self, connection: Proxy, seconds: float, read_only: bool = True) -> str:
        """How a question begins that may take so long, with what holds for every question."""
        kind = (connection.get_server_version().major, seconds, read_only)
        if kind not in self._beginnings:
            settings = {
                **READING,
                "statement_timeout": str(max(1, round(seconds * 1000))),
                "max_parallel_workers_per_gather": "0",  # its own processor is enough for a reader
                **(GONE if self._notices else {}),
            }
            how = READ_ONLY if read_only else f"{READ_COMMITTED} READ WRITE"
            self._beginnings[kind] = begin(how, settings, kind[0])
        return self._beginnings[kind]

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Proxy]:
        """A connection in a transaction: a pooler may not switch servers between its messages."""
        async with (
            self._connection(self._own, self._longest_seconds) as connection,
            _transaction(connection, READ_ONLY),
        ):
            yield connection

    @asynccontextmanager
    async def _connection(
        self, lane: _Lane, longest_seconds: float, caller: Hashable = None
    ) -> AsyncIterator[Proxy]:
        """A connection, given back however the block ends; its silence is bounded.

        Raises:
            Problem: 503, the database is away or too many wait; 504, all connections stay busy.
        """
        connection = await self._acquire(lane, caller)
        leaves = False
        try:
            async with asyncio.timeout(longest_seconds):
                yield connection
        except CONNECTION_ERRORS as error:
            _end(connection)
            raise self._lost(error, "PGRST001") from error
        except asyncio.CancelledError:
            # Its client is gone, and asyncpg is cancelling the statement: nobody waits for that,
            # but the connection is not free, and the turn not over, until the backend has stopped.
            leaving = asyncio.create_task(self._leave(lane, connection))
            leaves = True
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            raise
        finally:
            if not leaves:
                await self._give_back(lane, connection)

    async def _leave(self, lane: _Lane, connection: Proxy) -> None:
        """End the transaction of a connection whose statement is being cancelled."""
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await connection.execute("ROLLBACK" + END)
        except (*CONNECTION_ERRORS, asyncpg.PostgresError):
            _end(connection)
        finally:
            await self._give_back(lane, connection)

    async def _give_back(self, lane: _Lane, connection: Proxy) -> None:
        try:
            with suppress(*CONNECTION_ERRORS, asyncpg.PostgresError):
                await lane.pool.release(connection, timeout=GRACE_SECONDS)
        finally:
            lane.turns.give()

    @asynccontextmanager
    async def _turn(self, turns: Turns, caller: Hashable) -> AsyncIterator[None]:
        """A turn, within the time that one waits for a connection.

        Raises:
            Problem: 503, too many wait; 504, all turns are taken.
        """
        await self._take(turns, caller)
        try:
            yield
        finally:
            turns.give()

    async def _take(self, turns: Turns, caller: Hashable) -> None:
        if turns.take_now():
            return
        if self._waiting >= MOST_WAITING:
            raise Problem(503, "PGRST003", "Too many requests wait for a connection.")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._acquire_seconds):
                await turns.take(caller)
        except TimeoutError:
            message = "Timed out acquiring connection from connection pool."
            raise Problem(504, "PGRST003", message) from None
        finally:
            self._waiting -= 1

    async def _acquire(self, lane: _Lane, caller: Hashable) -> Proxy:
        await self._take(lane.turns, caller)
        try:
            connection = await lane.pool.acquire(timeout=self._acquire_seconds)
        # ValueError: the URL means nothing to the driver; the process is about to say so and end.
        except (*CONNECTION_ERRORS, asyncpg.PostgresError, ValueError) as error:
            lane.turns.give()
            raise self._lost(error, "PGRST000") from error
        except BaseException:
            lane.turns.give()
            raise
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
async def _transaction(connection: Proxy, beginning: str) -> AsyncIterator[None]:
    """COMMIT at the end, ROLLBACK after an error; a connection that can do neither is closed."""
    await connection.execute(beginning)
    try:
        try:
            yield
            await connection.execute("COMMIT" + END)
        except Exception:  # of a COMMIT, too: what is deferred until then may be refused
            await connection.execute("ROLLBACK" + END)
            raise
    except CONNECTION_ERRORS:
        _end(connection)
        raise


def _end(connection: Proxy) -> None:
    """Close it at once; asyncpg has taken it back already if it was lost."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _notices(connection: Any) -> bool:
    """Whether the server can look after its client while a statement runs: on Linux it can."""
    (name, milliseconds), *_ = GONE.items()
    try:
        await connection.execute(f"BEGIN; SET LOCAL {name} = {milliseconds}; ROLLBACK")
    except asyncpg.PostgresError:
        await connection.execute("ROLLBACK")
        return False
    return True


async def _set(connection: Proxy, settings: Mapping[str, str]) -> None:
    try:
        await connection.execute(set_config(*settings), *settings.values())
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        raise no_role(settings.get("role")) from error  # it was dropped or revoked just now


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
