"""A call of a function in a transaction of its own, and its answer, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg

from ingest.errors import QueryRefused
from ingest.rpc.buckets import BucketCheck
from ingest.rpc.shape import Value
from ingest.rpc.statement import ROW_ENDS, Statement
from ingest.storage.one_trip import column_formats
from ingest.storage.pgerrors import QUERY_CANCELED
from ingest.storage.read import Lane, ReadDatabase
from ingest.storage.reading import Batch, first_batch, next_batch

if TYPE_CHECKING:
    Proxy = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

COLUMNS = column_formats(True, *[False] * 7)

BATCH_PIECES = 1000
"""Pieces of an answer that are in memory at once, 16 KiB each at most."""


class TakesLong(Exception):
    """The question is not for the quick lane: it can be asked again in the other."""


class Answer:
    """What a call answers: how long it is, and then, piece by piece, what.

    Attributes:
        rows: of the result.
        total: rows besides the page, if they were counted.
        version: of the function.
        status, headers: that the function chose, as it wrote them.
        is_long: it was expected to be short, and came in pieces after all.
        until: by `time.monotonic()`, when its connection is needed elsewhere.

    Args:
        about: the first row.
        pieces: of the body, as far as they are here.
        connection: where more of them come from.
    """

    def __init__(
        self,
        statement: Statement,
        about: Mapping[str, Any],
        pieces: Batch,
        until: float,
        connection: Proxy | None = None,
        *,
        is_long: bool = False,
        quick: bool = False,
    ) -> None:
        self.rows: int = about["rows"]
        self.total: int | None = about["total"]
        self._bytes: int = about["bytes"]
        self.version: str | None = about["version"]
        self.status: str | None = about["status"]
        self.headers: str | None = about["headers"]
        self.is_long = is_long
        self._quick = quick
        self.until = until
        self._connection = connection
        self._statement = statement
        self._batch = pieces

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
        while batch.more is not None:
            yield self._part(batch, begins=begins, ends=False)
            begins = False
            assert self._connection is not None
            batch = await next_batch(self._connection, batch.more, BATCH_PIECES)
        yield self._part(batch, begins=begins, ends=True)

    def _part(self, batch: Batch, *, begins: bool, ends: bool) -> bytes:
        if not self.rows:
            return self._statement.empty
        pieces: list[bytes] = [row[0] for row in batch.rows]
        first = pieces.pop(0) if begins else b""  # it goes on from nothing, whatever it begins with
        part = first + b"".join([each.removeprefix(ROW_ENDS) for each in pieces])
        if begins:
            part = self._statement.opening + part[self._statement.skipped :]
        return part + self._statement.closing if ends else part

    async def whole(self) -> bytes:
        """All of the body."""
        if self.is_whole:
            return self._part(self._batch, begins=True, ends=True)
        return b"".join([part async for part in self.parts()])


@asynccontextmanager
async def call(
    database: ReadDatabase,
    lane: Lane,
    statement: Statement,
    parameters: Sequence[Value],
    check: BucketCheck | None,
    settings: Mapping[str, str],
    caller: Hashable,
    *,
    before: Sequence[tuple[str, Sequence[str]]],
    read_only: bool,
    short: bool,
    seconds: float,
    is_quick: bool,
    stream_seconds: float,
) -> AsyncIterator[Answer]:
    """Call a function; leaving the block commits, an exception in it rolls back.

    One round trip more than `ReadTransactions.transaction` says, one for each statement before, one
    for a function with buckets, and one for each further batch of a long answer.

    Args:
        check: asked before the function is.
        settings: set for this transaction only, `role` among them.
        caller: who asks: callers have their turns one after the other.
        before: statements that are executed first, each with its parameters.
        short: whether the answer is expected to be: else the function is called a second time, in
            the same transaction, which must be one that only reads.
        seconds: what a statement may take.
        is_quick: what takes longer can be asked again in the dear lane.
        stream_seconds: how long the block may read the answer.

    Raises:
        TakesLong: it has to be asked again.
        BadRequest: too many buckets.
        Busy, DatabaseAway, QueryRefused: as `ReadTransactions.transaction`.
    """
    is_long = False
    if short and check is None and not before:
        about = await _at_once(
            database, lane, statement, parameters, settings, caller, seconds, is_quick
        )
        is_long = about is not None and about["piece"] is None and about["rows"] > 0
        if about is not None and not is_long:
            yield Answer(
                statement, about, Batch([(about["piece"],)], None), monotonic() + stream_seconds
            )
            return
    if not read_only:
        await database.take(database.writes, caller)
    try:
        async with database.transaction(
            lane,
            settings,
            caller,
            seconds=seconds,
            more_seconds=stream_seconds,
            read_only=read_only,
        ) as connection:
            try:
                for sql, values in before:
                    await connection.fetchval(sql, *values)
                if check is not None:
                    await check.refuse(connection)
                first, came_long = await _ask(
                    connection, statement, parameters, short and not is_long
                )
            except asyncpg.QueryCanceledError as error:
                if is_quick:
                    raise TakesLong from error
                raise
            said, *pieces = first.rows
            yield Answer(
                statement,
                said,
                Batch(pieces if said["piece"] is None else first.rows[:1], first.more),
                monotonic() + stream_seconds,
                connection,
                is_long=is_long or came_long,
                quick=is_quick,
            )
    finally:
        if not read_only:
            database.writes.give()


async def _at_once(
    database: ReadDatabase,
    lane: Lane,
    statement: Statement,
    parameters: Sequence[Value],
    settings: Mapping[str, str],
    caller: Hashable,
    seconds: float,
    is_quick: bool,
) -> Mapping[str, Any] | None:
    """The row of a short answer, in one round trip; None if it has to be asked step by step.

    Raises:
        TakesLong: as `call`.
    """
    try:
        row = await database.at_once(
            lane, settings, caller, statement.short, parameters, COLUMNS, seconds=seconds
        )
    except QueryRefused as error:
        if is_quick and error.sqlstate == QUERY_CANCELED:
            raise TakesLong from error
        raise
    if row is None:
        return None
    piece, rows, length, version, total, status, headers, _ = row
    return {
        "piece": piece,
        "rows": int(rows or 0),
        "bytes": int(length or 0),
        "version": version and version.decode(),
        "total": None if total is None else int(total),
        "status": status and status.decode(),
        "headers": headers and headers.decode(),
    }


async def _ask(
    connection: Proxy, statement: Statement, parameters: Sequence[Value], short: bool
) -> tuple[Batch, bool]:
    """The first rows of an answer, and whether it was wrongly taken for a short one."""
    if short:
        row = await connection.fetchrow(statement.short, *parameters)
        assert row is not None
        if row["piece"] is not None or not row["rows"]:
            return Batch([row], None), False
    first = await first_batch(connection, statement.sql, parameters, BATCH_PIECES)
    return first, short
