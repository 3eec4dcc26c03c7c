"""Persistent connections that send one request after the other, as quickly as answers come."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar, cast

LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
WRITTEN = re.compile(rb"(?i)\r\nx-prometheus-remote-write-(\w+)-written: (\d+)")
KINDS = (b"samples", b"histograms", b"exemplars")
PATIENCE_SECONDS = 60

T = TypeVar("T")


class Answer(NamedTuple):
    """What came back; `written` is None if no header says it."""

    status: int
    written: tuple[int, int, int] | None
    text: bytes


class Lost(Exception):
    """A connection ended while a request had no answer."""


Send = tuple[T, bytes]


class Connection(asyncio.Protocol):
    """One connection; opened again where the server closed it after an answer."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Lost(f"{exc!r} after {self._received[:200]!r}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = self._received[:end]
        length = LENGTH.search(head)
        after = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) >= after:
            text, self._received = self._received[end + 4 : after], self._received[after:]
            if b"onnection: close" in head:
                self.close()
            self._answer.set_result(Answer(int(head[9:12]), _written(head), text))

    async def ask(self, request: bytes) -> Answer:
        """Send one request; its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()


async def send_all(
    address: str,
    requests: Iterator[Send[T]],
    answered: Callable[[T, Answer], None],
    connections: int,
) -> None:
    """Send all `requests` over so many connections.

    Raises:
        Lost: a request got no answer.
        TimeoutError: none came for a minute.
    """
    host, _, port = address.partition(":")

    async def work() -> None:
        connection = Connection()
        for request, raw in requests:
            if not connection.is_open:
                connection = await _open(host, int(port))
            async with asyncio.timeout(PATIENCE_SECONDS):
                answered(request, await connection.ask(raw))
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(work())


def post(headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole request."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /api/v1/write HTTP/1.1\r\nHost: fuzz\r\n{fields}Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def _open(host: str, port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


def _written(head: bytes) -> tuple[int, int, int] | None:
    found = dict(WRITTEN.findall(head.lower()))
    if not found:
        return None
    samples, histograms, exemplars = [int(found[kind]) for kind in KINDS]
    return samples, histograms, exemplars
