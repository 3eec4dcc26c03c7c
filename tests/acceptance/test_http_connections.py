"""The HTTP server of both ports: how many may connect, and how long they may say nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from ingest.config.settings import HttpSettings
from ingest.http import connections as room
from ingest.http.connections import Connections
from ingest.http.server import LONGEST_HEAD_BYTES, WATCH_EVERY_SECONDS, HttpServer

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost:"


class Peer:
    """A client that sends exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def status(self) -> int | None:
        """Of the next answer, whose head is read; None if the connection ended before it."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return int(head.split()[1])

    async def ask(self) -> int | None:
        """One whole request; its status, its body read."""
        self.writer.write(ASK)
        status = await self.status()
        if status == 200:
            assert await self.reader.readexactly(2) == b"ok"
        return status

    async def ended(self) -> bytes:
        """What comes until the connection has ended."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


class Port:
    """A server, and whoever connects to it."""

    def __init__(self, address: str, connections: Connections) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.connections = connections
        self._peers: list[Peer] = []

    async def peer(self, *sent: bytes, source: str = "127.0.0.1") -> Peer:
        """Connect, from any address of this machine, and send something."""
        made = await asyncio.open_connection(
            self.host, self.port, local_addr=(source, 0), limit=1 << 16
        )
        peer = Peer(*made)
        self._peers.append(peer)
        for piece in sent:
            peer.writer.write(piece)
        return peer

    async def until_open(self, count: int) -> None:
        """Wait until so many connections are open."""
        async with asyncio.timeout(60):
            while len(self.connections.open) != count:  # noqa: ASYNC110 (there is no event)
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Let go of everybody."""
        for peer in self._peers:
            peer.writer.transport.abort()


async def _ok(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="ok")


@asynccontextmanager
async def _serving(
    handler: Any = _ok, is_proxy: Callable[[str | None], bool] = lambda _: False, **settings: Any
) -> AsyncIterator[Port]:
    bounds = HttpSettings(**settings)
    connections = Connections(bounds, 0, is_proxy)

    def refuse(_: web.BaseRequest, status: int, error: BaseException | None) -> web.Response:
        return web.Response(status=status, text=str(getattr(error, "message", "")))

    server = HttpServer(
        handler,
        bounds,
        connections,
        refuse,
        flag="--listen",
        drain_seconds=5,
        keepalive_seconds=60,
    )
    port = Port(await server.start("127.0.0.1:0"), connections)
    try:
        yield port
    finally:
        await port.close()
        await server.close()
    assert not connections.open
    assert connections._count == 0
    assert not connections._by_address


async def test_a_head_that_is_not_complete_in_time_is_408() -> None:
    async with _serving(head_timeout_seconds=0.3) as port:
        slow = await port.peer(HALF)
        said = await slow.ended()
        assert said.startswith(b"HTTP/1.0 408 ")
        assert b"the head did not arrive within 0.3 s" in said


async def test_so_is_one_of_which_a_byte_comes_now_and_then() -> None:
    async with _serving(head_timeout_seconds=0.5) as port:
        slow = await port.peer(b"GET / HTTP/1.1\r\nX: ")
        answer = asyncio.create_task(slow.ended())
        while not answer.done():
            slow.writer.write(b"a")
            await asyncio.wait([answer], timeout=0.05)
        assert answer.result().startswith(b"HTTP/1.0 408 ")


async def test_a_connection_that_says_nothing_ends_without_a_word() -> None:
    async with _serving(head_timeout_seconds=0.3) as port:
        assert await (await port.peer()).ended() == b""


async def test_time_between_requests_is_no_time_of_a_head() -> None:
    async with _serving(head_timeout_seconds=0.5) as port:
        patient, slow = await port.peer(), await port.peer(HALF)
        assert await patient.ask() == 200
        assert b"408" in await slow.ended()
        assert await patient.ask() == 200
        patient.writer.write(HALF)
        assert await patient.status() == 408


async def test_the_end_of_a_body_is_no_beginning_of_a_head() -> None:
    async def reads(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(text="ok")

    async with _serving(reads, head_timeout_seconds=0.5) as port:
        patient = await port.peer(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        slow = await port.peer(HALF)
        patient.writer.write(b"b")
        assert await patient.status() == 200
        assert await patient.reader.readexactly(2) == b"ok"
        assert b"408" in await slow.ended()
        assert await patient.ask() == 200


async def test_what_is_answered_before_its_body_has_come_is_no_head_that_is_too_long() -> None:
    async def at_once(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=413, text="ok")

    length = 2 * 256 * 1024
    async with _serving(at_once) as port:
        peer = await port.peer(
            f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        assert await peer.status() == 413
        assert await peer.reader.readexactly(2) == b"ok"
        peer.writer.write(bytes(length))
        assert await peer.ask() is not None


async def test_a_head_without_end_is_431() -> None:
    lines = [f"X-{number}: {'a' * 20_000}\r\n".encode() for number in range(20)]
    head = b"GET / HTTP/1.1\r\n" + b"".join(lines)
    async with _serving() as port:
        peer = await port.peer(head[: LONGEST_HEAD_BYTES + 1])
        assert await peer.status() == 431


async def test_a_full_table_gives_the_place_of_whoever_waits_longest() -> None:
    async with _serving(max_connections=20) as port:
        first = await port.peer()
        assert await first.ask() == 200
        halves = [await port.peer(HALF) for _ in range(30)]
        newcomer = await port.peer()
        assert await newcomer.ask() == 200
        assert await first.ended() == b""
        assert await halves[0].ended() == b""
        assert await newcomer.ask() == 200
        assert len(port.connections.open) <= 20


async def test_nobody_with_a_request_in_hand_gives_way() -> None:
    release = asyncio.Event()

    async def holds(_: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response(text="ok")

    async with _serving(holds, max_connections=10) as port:
        asking = [await port.peer(ASK) for _ in range(10)]
        await port.until_open(10)
        probes = [await port.peer(ASK) for _ in range(room.PROBES)]  # of this machine
        await port.until_open(10 + room.PROBES)
        assert await (await port.peer(ASK)).status() in (503, None)
        release.set()
        assert {await peer.status() for peer in (*asking, *probes)} == {200}


@pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="127.0.0.0/8 is Linux's")
async def test_an_address_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.2 stands for a stranger here, 127.0.0.3 for a proxy of ours."""

    def counted_as(host: str) -> tuple[str, bool]:
        return host, host == "127.0.0.1"

    monkeypatch.setattr(room, "_counted_as", counted_as)
    async with _serving(
        is_proxy=lambda host: host == "127.0.0.3",
        max_connections=100,
        max_connections_per_address=5,
    ) as port:
        for source, most in (("127.0.0.2", 5), ("127.0.0.3", 20), ("127.0.0.1", 20)):
            peers = [await port.peer(source=source) for _ in range(20)]
            statuses = [await peer.ask() for peer in peers]
            assert statuses.count(200) == most, source


async def test_an_answer_that_nobody_reads_is_ended() -> None:
    told = asyncio.Event()

    async def much(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1 << 20))
        finally:
            told.set()

    async with _serving(much, write_timeout_seconds=0.5) as port:
        _, writer = await asyncio.open_connection(port.host, port.port, limit=1)
        writer.write(ASK)
        writer.transport.pause_reading()
        async with asyncio.timeout(60):
            await told.wait()
        writer.transport.abort()


async def test_an_answer_that_is_read_slowly_is_not() -> None:
    length = 8 << 20

    async def much(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(length)})
        await response.prepare(request)
        for _ in range(length >> 16):
            await response.write(bytes(1 << 16))
        return response

    async with _serving(much, write_timeout_seconds=1) as port:
        peer = await port.peer(ASK)
        assert await peer.status() == 200
        got = 0
        for _ in range(16):
            got += len(await peer.reader.readexactly(length // 16))
            await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=0.2)
        assert got == length


async def test_an_answer_that_is_not_read_at_once_is_whole() -> None:
    """The first look at a new connection finds an answer that waits for its client."""
    length = 32 << 20

    async def much(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(length))

    async with _serving(much, write_timeout_seconds=30) as port:
        peer = await port.peer(ASK)
        peer.writer.transport.pause_reading()
        looks = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * WATCH_EVERY_SECONDS, looks.set)
        await looks.wait()
        peer.writer.transport.resume_reading()
        assert await peer.status() == 200
        assert len(await peer.reader.readexactly(length)) == length


async def test_answers_that_end_their_connection_are_bounded_too() -> None:
    """aiohttp forgets a connection that it closes; the rest of the answer still waits for it."""

    async def much(_: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(body=bytes(32 << 20))
        response.force_close()
        return response

    async with _serving(much, write_timeout_seconds=0.5) as port:
        _, writer = await asyncio.open_connection(port.host, port.port, limit=1)
        writer.write(ASK)
        writer.transport.pause_reading()
        await port.until_open(1)
        await port.until_open(0)
        writer.transport.abort()


def test_ipv6_addresses_are_counted_by_network() -> None:
    assert room._counted_as("2001:db8:1:2::1") == room._counted_as("2001:db8:1:2:ffff::9")
    assert room._counted_as("2001:db8:1:2::1") != room._counted_as("2001:db8:1:3::1")
    assert room._counted_as("::ffff:192.0.2.1") == ("192.0.2.1", False)
    assert room._counted_as("::ffff:127.0.0.1")[1]
    assert room._counted_as("fe80::1%eth0") == room._counted_as("fe80::1")


class Gatherer:
    """A handler that reads the body, waits until it may go on, and answers what it read."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.began = asyncio.Event()

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.began.set()
        body = await request.read()
        await self.may_answer.wait()
        return web.Response(body=body)


HALF_A_BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf"

Ask = Callable[[bytes], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def _closing(handler: Gatherer) -> AsyncIterator[tuple[HttpServer, Ask]]:
    """A server that the test closes, and how it is asked."""
    bounds = HttpSettings()

    def refuse(_: web.BaseRequest, status: int, error: BaseException | None) -> web.Response:
        return web.Response(status=status, text=str(getattr(error, "message", "")))

    server = HttpServer(
        handler,
        bounds,
        Connections(bounds, 0, lambda _: False),
        refuse,
        flag="--listen",
        drain_seconds=60,
        keepalive_seconds=60,
    )
    host, port = (await server.start("127.0.0.1:0")).split(":")
    writers = []

    async def ask(text: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(host, int(port))
        writers.append(writer)
        writer.write(text)
        return reader, writer

    yield server, ask
    for writer in writers:
        writer.close()


async def test_a_body_that_is_on_its_way_when_the_server_ends_is_read_and_answered() -> None:
    """What arrives from then on was thrown away, and the request heard 503 after 25 s."""
    gatherer = Gatherer()
    async with _closing(gatherer) as (server, ask), asyncio.timeout(60):
        reader, writer = await ask(HALF_A_BODY)
        idle, _ = await ask(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await idle.readuntil(b"\r\n\r\n")
        await gatherer.began.wait()
        closing = asyncio.create_task(server.close())
        assert await idle.read() == b"", "a connection without a request is closed at once"
        with pytest.raises(ConnectionError):
            await ask(b"")
        writer.write(b"next")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"halfnext")
        assert b"Connection: close" in answer
        await closing


async def test_a_body_that_does_not_come_when_the_server_ends_is_503() -> None:
    """Within seconds, whatever patience there is with answers."""
    gatherer = Gatherer()
    async with _closing(gatherer) as (server, ask), asyncio.timeout(60):
        reader, _ = await ask(HALF_A_BODY)
        await gatherer.began.wait()
        closing = asyncio.create_task(server.close())
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        assert b"the body has not arrived" in answer
        await closing


async def test_an_answer_that_does_not_come_when_the_server_ends_is_503() -> None:
    gatherer = Gatherer()
    gatherer.may_answer.clear()
    async with _closing(gatherer) as (server, ask), asyncio.timeout(60):
        reader, _ = await ask(HALF_A_BODY + b"more")
        await gatherer.began.wait()
        closing = asyncio.create_task(server.close(drain_seconds=0.5))
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Connection: close" in answer
        await closing


async def test_an_answer_that_comes_in_time_is_waited_for() -> None:
    gatherer = Gatherer()
    gatherer.may_answer.clear()
    async with _closing(gatherer) as (server, ask), asyncio.timeout(60):
        reader, _ = await ask(HALF_A_BODY + b"more")
        await gatherer.began.wait()
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        gatherer.may_answer.set()
        assert (await reader.read()).endswith(b"halfmore")
        await closing
