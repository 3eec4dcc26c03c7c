"""Transactions that read, for every API and on both ports: whose turn it is, a connection, BEGIN to
COMMIT, and what went wrong as one of our own errors.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from ingest.config import Settings
from ingest.errors import Busy, DatabaseAway, QueryRefused, RoleRefused
from ingest.logs import get_logger
from ingest.model import TenantId
from ingest.sqlfiles import query
from ingest.storage.one_trip import (
    STALE,
    OneTrip,
    Parameter,
    Row,
    TripConnection,
    executed,
    setting,
    text_array,
)
from ingest.storage.pgerrors import CONNECTION_ERRORS
from ingest.storage.pool import Pool, wait_for_server
from ingest.storage.session import (
    READ_COMMITTED,
    READ_ONLY,
    READING,
    begin,
    known_to,
    set_config,
)
from ingest.storage.turns import Turns
from ingest.text import on_one_line

if TYPE_CHECKING:
    Proxy = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

NAME, DEAR_NAME = "promgres api", "promgres api dear"
"""What connections are called: by it `promgres up` knows whom to make nicer (`readers.sql`)."""
OWN_CONNECTIONS = 1
"""For the schema cache and tenants' ids."""
RECORD_CONNECTIONS = 2
"""For reading measures and events."""
EXPORT_CONNECTIONS = 1
"""For exports, which take turns at it with every slice."""

NOT_FOR_US = frozenset({"3F000", "42883", "42501"})
"""SQLSTATEs of readers before `promgres migrate`: no schema, no function, or no grant on it."""

MOST_WAITING = 1000
"""Requests that may wait for a connection; the next one is told to come back."""

GRACE_SECONDS = 5.0
"""How much longer than a statement may take we wait for a server that says nothing."""

CLEAN = ("RESET ROLE", "RESET ALL", "CLOSE ALL", "UNLISTEN *", "DISCARD TEMP")
"""Whatever a function did to its session ends with its transaction, in the same round trip:
settings, cursors, temporary tables; and locks, unless the statement that called it let go of them.
"""
UNLOCK = "SELECT pg_catalog.pg_advisory_unlock_all()"

KEPT_SECONDS = 60.0
"""How long a connection stays with its lane before its pool may close it for being idle: to lend
one and to take it back costs a pool more than it costs us to ask."""
STEP_BY_STEP = STALE | {"22023", "42501"}
"""Errors of a question in one message that may be about what stands before it: a role that cannot
be assumed, or a statement that is not as it was. Asked step by step, it is seen."""

GONE = {"client_connection_check_interval": "500"}
"""Milliseconds after which a backend notices that we are gone, and ends what it does for us."""

_BEGIN, _COMMIT = executed(READ_ONLY), executed("COMMIT", *CLEAN)

log = get_logger("api")


class Lane(NamedTuple):
    """Connections for one kind of questions.

    Attributes:
        turns: at most so many of its connections are used at once.
        clean: whether sessions are made clean: functions of users run in them.
        kept: those that it has from its pool and nobody uses; None if it keeps none.
    """

    pool: Pool
    turns: Turns
    clean: bool = True
    kept: list[Proxy] | None = None

    def end(self, how: str, unlock: bool) -> str:
        """The statements that end a transaction with COMMIT or ROLLBACK."""
        cleaning = (*CLEAN, UNLOCK) if unlock else CLEAN
        return "; ".join((how, *cleaning) if self.clean else (how,))


class ReadTransactions:
    """Transactions that read, each for one question.

    Args:
        acquire_seconds: how long a question may wait for its turn, and then for a connection.
        statement_seconds: how long a statement may take.
    """

    def __init__(self, acquire_seconds: float, statement_seconds: float) -> None:
        self.statement_seconds = statement_seconds
        self._acquire_seconds = acquire_seconds
        self._waiting = 0
        self._away = False
        self._keeps = True
        self._notices: bool | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def transaction(
        self,
        lane: Lane,
        settings: Mapping[str, str],
        caller: Hashable = None,
        *,
        seconds: float | None = None,
        more_seconds: float = 0.0,
        read_only: bool = True,
    ) -> AsyncIterator[Proxy]:
        """A connection in a transaction: COMMIT after the block, ROLLBACK after an error in it.

        Two round trips besides those of the block: BEGIN with `settings`, and COMMIT. The
        connection is given back however the block ends, and its silence is bounded.

        Args:
            settings: set for this transaction only; `role` comes last.
            caller: who asks: callers have their turns one after the other.
            seconds: of each statement, if not as usual.
            more_seconds: how much longer than one statement the block may take.
            read_only: the block then lets go of locks that a function took for its session; from
                one that writes they are taken here, as what is deferred until COMMIT may lock, too.

        Raises:
            Busy: too many wait, or all connections stay busy.
            DatabaseAway: no connection, or one that broke.
            RoleRefused: it was dropped or revoked just now.
            QueryRefused: what else the database said.
        """
        longest_seconds = max(seconds or 0, self.statement_seconds) + more_seconds
        async with self._lent(lane, caller, longest_seconds) as connection:
            beginning = _beginning(
                connection.get_server_version().major,
                seconds or self.statement_seconds,
                read_only=read_only,
                notices=bool(self._notices),
            )
            try:
                await _begin(connection, beginning, settings)
                yield connection
                await connection.execute(lane.end("COMMIT", unlock=not read_only))
            except Exception:  # of a COMMIT, too: what is deferred until then may be refused
                await connection.execute(lane.end("ROLLBACK", unlock=True))
                raise

    async def at_once(
        self,
        lane: Lane,
        settings: Mapping[str, str],
        caller: Hashable,
        sql: str,
        parameters: Sequence[Parameter],
        formats: bytes,
        *,
        seconds: float,
    ) -> Row | None:
        """What `transaction` does for one statement that only reads and has one row, and lets go of
        its locks, in one round trip. None: it has to be asked step by step.

        Args:
            parameters, formats: as `OneTrip.ask` takes them.

        Raises:
            Busy, DatabaseAway, QueryRefused: as `transaction`.
        """
        async with self._lent(lane, caller, max(seconds, self.statement_seconds)) as connection:
            trip: OneTrip | None = connection.trip  # type: ignore[attr-defined]
            if trip is None:
                return None
            version = connection.get_server_version().major
            names, constants = _setting(
                version, seconds, tuple(settings), notices=bool(self._notices)
            )
            before = _BEGIN + setting(names, text_array(settings.values(), constants))
            try:
                return await trip.ask(before, sql, parameters, formats, _COMMIT)
            except asyncpg.PostgresError as error:
                await connection.execute(lane.end("ROLLBACK", unlock=True))
                if error.sqlstate in STEP_BY_STEP:
                    return None
                raise

    @asynccontextmanager
    async def _lent(self, lane: Lane, caller: Hashable, seconds: float) -> AsyncIterator[Proxy]:
        """A connection, for so long and some grace, with what goes wrong as our own errors; given
        back however the block ends."""
        connection = await self._acquire(lane, caller)
        leaves = False
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                yield connection
        except CONNECTION_ERRORS as error:
            _end(connection)
            raise self._lost(error, broke=True) from error
        except asyncpg.PostgresError as error:
            message = error.message or type(error).__name__
            raise QueryRefused(message, error.sqlstate, error.detail, error.hint) from error
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

    async def take(self, turns: Turns, caller: Hashable) -> None:
        """Wait for a turn, as long as for a connection; give it back with `turns.give`.

        Raises:
            Busy: too many wait, or all turns are taken.
        """
        if turns.take_now():
            return
        if self._waiting >= MOST_WAITING:
            raise Busy("Too many requests wait for a connection.")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._acquire_seconds):
                await turns.take(caller)
        except TimeoutError:
            message = "Timed out acquiring connection from connection pool."
            raise Busy(message, waited=True) from None
        finally:
            self._waiting -= 1

    async def _acquire(self, lane: Lane, caller: Hashable) -> Proxy:
        await self.take(lane.turns, caller)
        while lane.kept:
            if not _is_closed(connection := lane.kept.pop()):
                self._is_back()
                return connection
        try:
            async with asyncio.timeout(self._acquire_seconds):  # the pool's own makes a task
                connection = await lane.pool.acquire()
        # ValueError: the URL means nothing to the driver; the process is about to say so and end.
        except (*CONNECTION_ERRORS, asyncpg.PostgresError, ValueError) as error:
            lane.turns.give()
            raise self._lost(error, broke=False) from error
        except BaseException:
            lane.turns.give()
            raise
        self._is_back()
        if lane.kept is not None:
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._let_go, lane, connection)
        return connection

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            log.info("the database is back")

    async def _leave(self, lane: Lane, connection: Proxy) -> None:
        """End the transaction of a connection whose statement is being cancelled."""
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                if trip := getattr(connection, "trip", None):
                    await trip.abandon()
                await connection.execute(lane.end("ROLLBACK", unlock=True))
        except (*CONNECTION_ERRORS, asyncpg.PostgresError):
            _end(connection)
        finally:
            await self._give_back(lane, connection)

    async def _give_back(self, lane: Lane, connection: Proxy) -> None:
        try:
            if lane.kept is not None and self._keeps and not _is_closed(connection):
                lane.kept.append(connection)
            else:
                with suppress(*CONNECTION_ERRORS, asyncpg.PostgresError):
                    await lane.pool.release(connection, timeout=GRACE_SECONDS)
        finally:
            lane.turns.give()

    def _let_go(self, lane: Lane, connection: Proxy) -> None:
        """Leave it to its pool, unless it is in use: then look again later."""
        assert lane.kept is not None
        if connection in lane.kept:
            lane.kept.remove(connection)
            leaving = asyncio.create_task(lane.pool.release(connection))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        elif not _is_closed(connection):
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._let_go, lane, connection)

    def _lost(self, error: BaseException, broke: bool) -> DatabaseAway:
        """What the client is told; why, and only once, is for the log."""
        if not self._away:
            self._away = True
            reason = on_one_line(error)
            log.warning("the database is away", reason=reason)
        return DatabaseAway(broke)


class ReadDatabase(ReadTransactions):
    """The read side's connections. They are made on demand, so a database that is away only delays
    answers.

    Args:
        url: of a login that is a member of `authenticator`.

    Attributes:
        quick, dear: for functions; the same where there is only one connection.
        writes: turns of functions that write, in the quick lane.
        records: for measures and events.
        exports: for raw samples.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        super().__init__(
            settings.api.acquire_timeout_seconds, settings.api.statement_timeout_seconds
        )
        self._url = url
        self._settings = settings
        self._connect_seconds = settings.database.connect_timeout_seconds
        size = settings.api.pool_size
        dear = dear_connections(size)
        self.quick = self._lane(size, keep=True)
        self.dear = self._lane(dear, DEAR_NAME, keep=True) if dear else self.quick
        self.writes = Turns(max(1, size // 2))
        self.records = self._lane(RECORD_CONNECTIONS)
        self._own = self._lane(OWN_CONNECTIONS)
        self.exports = self._lane(EXPORT_CONNECTIONS, DEAR_NAME, clean=False)
        self._lanes = [self.quick, self.records, self.exports, self._own]
        if dear:
            self._lanes.append(self.dear)

    def _lane(self, most: int, name: str = NAME, *, clean: bool = True, keep: bool = False) -> Lane:
        async def greet(connection: Any) -> None:
            if self._notices is None:
                self._notices = await _notices(connection)

        pool: Pool = asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=most,
            statement_cache_size=self._settings.database.statement_cache_size,
            timeout=self._connect_seconds,
            connection_class=TripConnection,
            init=greet,
            server_settings={"application_name": name},
        )
        return Lane(pool, Turns(most), clean, [] if keep else None)

    async def open(self) -> None:
        """Make the pools ready; nothing is connected yet."""
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
        self._keeps = False
        for lane in self._lanes:
            while lane.kept:
                self._let_go(lane, lane.kept[0])
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await asyncio.gather(*self._leaving, return_exceptions=True)
                await asyncio.gather(*[lane.pool.close() for lane in self._lanes])

    @property
    def connections(self) -> tuple[int, int]:
        """How many there are, and how many of them are in use."""
        size = sum(lane.pool.get_size() for lane in self._lanes)
        idle = sum(lane.pool.get_idle_size() + len(lane.kept or ()) for lane in self._lanes)
        return size, size - idle

    async def catalogue(self, schemas: Sequence[str] = ("api",)) -> str:
        """The document of `internal.api_catalogue_of()`.

        Raises:
            Busy, DatabaseAway: not now.
            QueryRefused: the function is not there or not ours to call.
        """
        async with self.transaction(self._own, {}) as connection:
            document: str = await connection.fetchval(
                "SELECT internal.api_catalogue_of($1::text[])::text", list(schemas)
            )
        return document

    async def packs(self) -> list[str] | None:
        """Packs that `promgres migrate` has switched on; None while it was not there."""
        try:
            async with self.transaction(self._own, {}) as connection:
                packs: list[str] = await connection.fetchval("SELECT internal.recorded_packs()")
        except QueryRefused as error:
            if error.sqlstate in NOT_FOR_US:
                return None
            raise
        return packs

    async def tenant_id(self, name: str) -> TenantId | None:
        """The id of a tenant, None if there is none of that name."""
        async with self.transaction(self._own, {}) as connection:
            number: TenantId | None = await connection.fetchval(
                "SELECT internal.tenant_id_of($1::text)", name
            )
        return number

    async def role_settings(self) -> str:
        """The document of `rpc/role_settings.sql`."""
        async with self.transaction(self._own, {}) as connection:
            document: str = await connection.fetchval(query("rpc/role_settings"))
        return document

    async def executable(self, role: str, oids: list[int]) -> set[int]:
        """Which of these functions a role may execute."""
        async with self.transaction(self._own, {}) as connection:
            rows = await connection.fetch(
                "SELECT f FROM unnest($2::oid[]) AS f"
                " WHERE has_function_privilege($1::text, f, 'EXECUTE')",
                role,
                oids,
            )
        return {row["f"] for row in rows}


@lru_cache(maxsize=100)
def _constants(version: int, seconds: float, *, notices: bool) -> Mapping[str, str]:
    """What holds for every question that may take so long.

    Args:
        notices: the server can look after its client.
    """
    settings = {
        **READING,
        "statement_timeout": str(max(1, round(seconds * 1000))),
        "max_parallel_workers_per_gather": "0",  # its own processor is enough for a reader
        **(GONE if notices else {}),
    }
    return known_to(version, settings)


@lru_cache(maxsize=100)
def _beginning(version: int, seconds: float, *, read_only: bool, notices: bool) -> str:
    """How such a question begins."""
    how = READ_ONLY if read_only else f"{READ_COMMITTED} READ WRITE"
    return begin(how, _constants(version, seconds, notices=notices), version)


@lru_cache(maxsize=1000)
def _setting(
    version: int, seconds: float, names: tuple[str, ...], *, notices: bool
) -> tuple[bytes, bytes]:
    """Names of all that is set for such a question, and the beginning of their values."""
    constants = _constants(version, seconds, notices=notices)
    return text_array((*constants, *names)), text_array(constants.values())[:-1]


async def _begin(connection: Proxy, beginning: str, settings: Mapping[str, str]) -> None:
    try:
        await connection.execute(f"{beginning}; {set_config(settings)}" if settings else beginning)
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        raise RoleRefused(settings.get("role")) from error


def _end(connection: Proxy) -> None:
    """Close it at once; asyncpg has taken it back already if it was lost."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


def _is_closed(connection: Proxy) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # its pool has taken it back
        return True


async def _notices(connection: Any) -> bool:
    """Whether the server can look after its client while a statement runs: on Linux it can."""
    (name, milliseconds), *_ = GONE.items()
    try:
        await connection.execute(f"BEGIN; SET LOCAL {name} = {milliseconds}; ROLLBACK")
    except asyncpg.PostgresError:
        await connection.execute("ROLLBACK")
        return False
    return True


def dear_connections(pool_size: int) -> int:
    """How many connections answer dear questions, besides a pool of this size: half of the
    processors are for others. 0 where one connection is all that there may be."""
    return max(1, (os.cpu_count() or 2) // 2) if pool_size > 1 else 0


def all_connections(pool_size: int) -> int:
    """How many connections a read side with a pool of this size has at most, besides those that
    watch the keys."""
    others = RECORD_CONNECTIONS + EXPORT_CONNECTIONS + OWN_CONNECTIONS
    return pool_size + dear_connections(pool_size) + others
