"""A question in one message: BEGIN, settings, the statement, COMMIT and what makes the session
clean go to the server together, and their answers come back together.

asyncpg waits for the answer to each of them: three round trips, each of which wakes a process, and
most of what a small question costs. Its connections know how to come to be, to cancel and to end;
for the length of one exchange their transport speaks to a `OneTrip` instead (PostgreSQL's manual,
"Message Formats" and "Pipelining"). One Sync at the end: after an error the server skips all the
rest, COMMIT too, and the transaction is still open, to be rolled back.

Nothing but the question itself is prepared by a name: what a function prepares for its session
cannot take the place of what says who asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import cached_property
from struct import Struct
from typing import Any, cast

import asyncpg

from ingest.storage.pool import CleanConnection

SETTINGS = """SELECT FROM unnest($1::text[], $2::text[]) AS s(name, value)
WHERE pg_catalog.set_config(s.name, s.value, true) IS NULL"""
"""Sets all of them, in their order, and has no row."""

STALE = frozenset({"0A000", "26000", "42P05"})
"""A plan whose result has another type by now; no such statement; one of that name already."""

SYNC = b"S\0\0\0\4"
EXECUTE = b"E\0\0\0\x09\0\0\0\0\0"
READY = b"Z\0\0\0\5"
"""All of ReadyForQuery but its last byte."""
_HEAD, _LENGTH, _COUNT = Struct("!cI"), Struct("!I"), Struct("!H")
_NULL = 0xFFFFFFFF

Row = list[bytes | None]
Parameter = str | bytes | int | None | Sequence[str]
Fields = dict[str, str]
"""Of an error, by their one-letter codes."""


class TripConnection(CleanConnection):
    """A connection that can be asked in one message, if it keeps statements prepared."""

    @cached_property
    def trip(self) -> OneTrip | None:
        """The way to do so."""
        most: int = cast(Any, self)._config.statement_cache_size
        return OneTrip(self, most) if most else None


class OneTrip(asyncio.Protocol):
    """What a connection of asyncpg needs for it: one exchange after the other.

    Args:
        most_statements: that are kept prepared.
    """

    def __init__(self, connection: asyncpg.Connection[Any], most_statements: int) -> None:
        self._connection = cast(Any, connection)
        self._transport: asyncio.Transport = self._connection._transport
        self._asyncpgs: asyncio.Protocol = self._connection._protocol
        self._loop = asyncio.get_running_loop()
        self._most_statements = most_statements
        self._made = 0
        self._names: dict[str, bytes] = {}
        self._closing: list[bytes] = []
        self._parts: list[bytes] = []
        self._answer: asyncio.Future[tuple[Row | None, Fields | None]] | None = None

    async def ask(
        self, before: bytes, sql: str, parameters: Sequence[Parameter], formats: bytes, after: bytes
    ) -> Row:
        """The row of a statement that has one and no more.

        Args:
            before, after: what is executed around it, as `executed` and `settings` make it.
            formats: of the row's columns, as `column_formats` makes them.

        Raises:
            asyncpg.PostgresError: what the server said; the transaction is still open.
            asyncpg.ConnectionDoesNotExistError: the server is gone.
        """
        name, parse = self._names.get(sql), b""
        if is_new := name is None:
            self._made += 1
            name = self._names[sql] = b"promgres_%d" % self._made
            parse = _parse(name, sql)
            if len(self._names) > self._most_statements:
                self._forget(next(iter(self._names)))
        bind = _bind(name, [_text(each) for each in parameters], formats)
        message = b"".join((*self._closing, before, parse, bind, EXECUTE, after, SYNC))
        if self._transport.is_closing():
            raise _gone()
        self._closing.clear()
        self._answer = self._loop.create_future()
        self._transport.set_protocol(self)
        self._transport.write(message)
        row, error = await self._answer
        if error is not None:
            if is_new or error["C"] in STALE:
                self._forget(sql)
            raise asyncpg.PostgresError.new(error)
        assert row is not None
        return row

    async def abandon(self) -> None:
        """Have the server end an exchange that nobody waits for any more, and wait for that."""
        if self._answer is not None:
            self._answer = ended = self._loop.create_future()
            await self._connection._cancel(self._loop.create_future())
            await ended

    def data_received(self, data: bytes) -> None:
        """Part of the answers: ReadyForQuery is the last."""
        if self._parts and len(data) <= len(READY):
            data = self._parts.pop() + data
        self._parts.append(data)
        if data[-6:-1] != READY or (answer := _read(b"".join(self._parts))) is None:
            return
        self._end()
        waiting, self._answer = self._answer, None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The exchange ends so, too."""
        self._end()
        waiting, self._answer = self._answer, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(_gone())
        self._asyncpgs.connection_lost(exc)

    def _end(self) -> None:
        self._parts.clear()
        self._transport.set_protocol(self._asyncpgs)

    def _forget(self, sql: str) -> None:
        """Close it with the next message, whether it was prepared or not."""
        name = self._names.pop(sql)
        self._closing.append(_message(b"C", b"S" + name + b"\0"))


def executed(*statements: str) -> bytes:
    """Messages that have statements executed that have no parameters and no rows."""
    return b"".join([_parse(b"", each) + _bind(b"", (), b"\0\0") + EXECUTE for each in statements])


def setting(names: bytes, values: bytes) -> bytes:
    """Messages that set settings for this transaction, in this order: two arrays."""
    return _PARSE_SETTINGS + _bind(b"", (names, values), b"\0\0") + EXECUTE


def text_array(texts: Iterable[str], begun: bytes = b"{") -> bytes:
    """A `text[]` as text.

    Args:
        begun: what stands before, as `text_array` makes it, without its last byte.
    """
    quoted = [each.replace("\\", "\\\\").replace('"', '\\"') for each in texts]
    elements = ('"' + '","'.join(quoted) + '"').encode() if quoted else b""
    between = b"," if quoted and begun != b"{" else b""
    return b"".join((begun, between, elements, b"}"))


def column_formats(*binary: bool) -> bytes:
    """In which form columns are wanted: binary, or text."""
    return _COUNT.pack(len(binary)) + b"".join(map(_COUNT.pack, binary))


def _text(value: Parameter) -> bytes | None:
    match value:
        case None:
            return None
        case str():
            return value.encode()
        case bytes():
            return b"\\x" + value.hex().encode()
        case int():
            return b"%d" % value
    return text_array(value)


def _message(kind: bytes, body: bytes) -> bytes:
    return _HEAD.pack(kind, len(body) + 4) + body


def _parse(name: bytes, sql: str) -> bytes:
    return _message(b"P", name + b"\0" + sql.encode() + b"\0\0\0")


def _bind(statement: bytes, values: Sequence[bytes | None], formats: bytes) -> bytes:
    parts = [b"\0", statement, b"\0\0\0", _COUNT.pack(len(values))]
    for value in values:
        parts += (_LENGTH.pack(_NULL),) if value is None else (_LENGTH.pack(len(value)), value)
    parts.append(formats)
    return _message(b"B", b"".join(parts))


_PARSE_SETTINGS = _parse(b"", SETTINGS)


def _read(data: bytes) -> tuple[Row | None, Fields | None] | None:
    """The row, or the error, of what came until ReadyForQuery; None if that is still to come."""
    row: Row | None = None
    error: Fields | None = None
    at = 0
    while at + _HEAD.size <= len(data):
        kind, length = _HEAD.unpack_from(data, at)
        if kind == b"Z":
            return row, error
        end = at + 1 + length
        if end <= len(data) and kind == b"D":
            row = _columns(data, at + _HEAD.size)
        elif end <= len(data) and kind == b"E":
            error = _fields(data[at + _HEAD.size : end])
        at = end
    return None


def _columns(data: bytes, at: int) -> Row:
    (count,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    row: Row = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if length == _NULL:
            row.append(None)
        else:
            row.append(data[at : at + length])
            at += length
    return row


def _fields(body: bytes) -> Fields:
    texts = body.decode("utf-8", "replace").split("\0")
    return {each[0]: each[1:] for each in texts if each}


def _gone() -> Exception:
    return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
