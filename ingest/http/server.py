"""The HTTP server of both ports: aiohttp's, with connections that are bounded in number and in how
long they may say nothing, and with words of ours for what is not HTTP.

aiohttp quotes a line that it does not understand, to the sender and in the log, and a key may be in
it; its listener takes more connections than there are files, and logs a traceback for each.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from ingest.config.addresses import split_address
from ingest.config.settings import HttpSettings
from ingest.errors import OperatorError
from ingest.http.connections import Connections
from ingest.http.metrics import HEAD, UNREAD
from ingest.logs import get_logger

PRODUCT = "promgres"
"""What `Server` says: no version, of nothing."""
LONGEST_LINE_BYTES = 32 * 1024
"""Of the request line and of each header: filters, arguments of a GET and tokens fit in."""
LONGEST_HEAD_BYTES = 256 * 1024
BACKLOG = 1024
ACCEPTED_AT_ONCE = 64
"""Connections taken in one turn: so many more than the table holds may be open for a moment."""
BODY_SECONDS = 2.0
"""How long the rest of a body may take once the server ends."""
GOODBYE_SECONDS = 1.0
"""How long answers that are cut short may take to be sent."""
LINGER_SECONDS = 0.3
"""How long a body that nobody wants any more is read, so that its sender sees the answer."""
ACCEPT_AGAIN_SECONDS = 0.5
"""After there were no files left."""
WATCH_EVERY_SECONDS = 0.5
TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Refuse = Callable[[web.BaseRequest, int, BaseException | None], web.Response]
"""The words for a request that is no HTTP (its status is below 500), or that a handler let fall."""
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = get_logger("http")


class HeadRefused(HttpProcessingError):
    """A head that is too long, or too long in coming."""


class Ending(HttpProcessingError):
    """The server ends before a request does: it has to be sent again."""

    code = 503


class _Protocol(web.RequestHandler):
    """One connection.

    It waits (nothing has come yet, or the last answer is out), then has a request in hand until
    that is answered. While it waits its head may be on the way: `_head_since` says since when.
    """

    __slots__ = (
        "_connections",
        "_content",
        "_cut",
        "_ending",
        "_head_since",
        "_in_hand",
        "_moved_at",
        "_refuse",
        "_unsent_bytes",
        "_wire",
        "_working",
        "head_bytes",
        "host",
    )

    def __init__(
        self, server: web.Server, connections: Connections, refuse: Refuse, **kwargs: Any
    ) -> None:
        super().__init__(server, **kwargs)
        self._connections = connections
        self._refuse = refuse
        self._wire: asyncio.Transport | None = None
        self._content: StreamReader | None = None
        self._head_since: float | None = None
        self._in_hand = False
        self._working: asyncio.Task[Any] | None = None
        self._ending = False
        self._cut: Ending | None = None
        self._moved_at = 0.0
        self._unsent_bytes = 0
        self.head_bytes = 0
        self.host: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)  # uvloop's derive from nothing of asyncio's
        self._head_since = self._moved_at = self._loop.time()
        self._connections.open.add(self)
        self._connections.wait(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._wire = None
        self._connections.busy(self)
        self._connections.open.discard(self)
        self.leave()
        super().connection_lost(exc)

    def leave(self) -> None:
        """Give back the place that `host` was admitted to."""
        if self.host is not None:
            self._connections.leave(self.host)
            self.host = None

    def data_received(self, data: bytes) -> None:
        in_body = self._content is not None and not self._content.is_eof()
        super().data_received(data)
        if self._in_hand:
            return
        if self._messages:
            self._in_hand = True
            self._connections.busy(self)
        elif data and not in_body:
            if self._head_since is None:
                self._head_since = self._loop.time()
            self._connections.head_grows(self, len(data))
            if self.head_bytes > LONGEST_HEAD_BYTES:
                self._end_head(431, f"the head is longer than {LONGEST_HEAD_BYTES} bytes")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._moved_at = self._loop.time()

    def give_way(self) -> None:
        """End: another connection needs the place."""
        self.force_close()

    def watch(self, now: float, head_seconds: float, write_seconds: float) -> None:
        """End what has stood still for too long: a head, or an answer that nobody takes."""
        if self._wire is None:
            return
        unsent_bytes = self._wire.get_write_buffer_size()
        if not unsent_bytes or unsent_bytes < self._unsent_bytes:
            self._moved_at = now
        self._unsent_bytes = unsent_bytes
        if unsent_bytes and now - self._moved_at >= write_seconds:
            UNREAD.inc()
            self._wire.abort()
        elif (
            not self._in_hand
            and self._head_since is not None
            and now - self._head_since >= head_seconds
        ):
            HEAD.inc()
            if self.head_bytes:
                self._end_head(408, f"the head did not arrive within {head_seconds:g} s")
            else:
                self.force_close()  # browsers connect in advance

    def _end_head(self, status: int, reason: str) -> None:
        """Have the error answered as any other that the parser finds."""
        if self._close or self._force_close:
            return
        refused = _ErrInfo(status, HeadRefused(code=status, message=reason), reason)
        self._messages.append((refused, EMPTY_PAYLOAD))
        self._in_hand = True
        self._connections.busy(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self) -> asyncio.Future[Any] | None:
        """Take no further request, and end at once unless one is in hand: its body is read on, and
        it is answered. Unlike aiohttp's `close`, which throws away what arrives from then on.

        Returns:
            Done when that is answered.
        """
        self._ending = True
        if not self._in_hand:
            self.force_close()
            return None
        return self._task_handler

    def cut_short(self, reason: str, only_bodies: bool) -> None:
        """Answer 503 instead of what a request waits for.

        Args:
            only_bodies: if it is the rest of its own body.
        """
        waits_for_body = self._content is not None and not self._content.is_eof()
        if self._working is not None and (waits_for_body or not only_bodies):
            self._cut = Ending(message=reason)
            self._lingering_time = LINGER_SECONDS
            self._working.cancel()

    async def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, *others: Any
    ) -> Any:
        self._content = request.content
        self._working = asyncio.current_task()
        try:
            return await super()._handle_request(request, start_time, *others)
        except asyncio.CancelledError:
            if self._cut is None or self._wire is None or request.writer.output_size > 0:
                raise
            assert self._working is not None
            self._working.uncancel()
            response = self._refuse(request, self._cut.code, self._cut)
            response.headers["Retry-After"] = "1"
            return await self.finish_response(request, response, start_time)
        finally:
            self._working = None
            if not self._messages and self._wire is not None:
                self._in_hand = False
                self._head_since = None
                self._connections.wait(self)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Any:
        if self._ending and isinstance(resp, web.StreamResponse) and not resp.prepared:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what cannot be parsed, or what a handler has let through."""
        if status < 500:  # strangers send such things: no traceback for each
            log.debug("no HTTP", sender=request.remote, status=status, kind=type(exc).__name__)
        elif not isinstance(exc, ConnectionError):
            log.error("a request failed", sender=request.remote, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, another one cannot follow")
        response = self._refuse(request, status, exc)
        response.force_close()
        return response


class _WebServer(web.Server):
    """Makes such connections."""

    def __init__(self, handler: Any, table: Connections, refuse: Refuse, **arguments: Any) -> None:
        super().__init__(handler, **arguments)
        self._table = table
        self._refuse = refuse

    def __call__(self) -> _Protocol:
        """A protocol for a new connection."""
        kwargs: dict[str, Any] = self._kwargs
        return _Protocol(self, self._table, self._refuse, loop=self._loop, **kwargs)


class HttpServer:
    """One port: listens from `start` to `close`.

    Args:
        handler: answers every request.
        connections: of this port.
        refuse: the words for what is not HTTP.
        flag: how the address is set, for an error.
        drain_seconds: how long requests under way may take after `close`; then they are cut short.
        keepalive_seconds: how long a connection may be idle between requests.
        handler_cancellation: whether a request ends when its client is gone.
    """

    def __init__(
        self,
        handler: Handler,
        settings: HttpSettings,
        connections: Connections,
        refuse: Refuse,
        *,
        flag: str,
        drain_seconds: float,
        keepalive_seconds: float,
        handler_cancellation: bool = False,
    ) -> None:
        self._handler = handler
        self._settings = settings
        self._connections = connections
        self._refuse = refuse
        self._flag = flag
        self._drain_seconds = drain_seconds
        self._keepalive_seconds = keepalive_seconds
        self._handler_cancellation = handler_cancellation
        self._runner: web.ServerRunner | None = None
        self._listeners: list[socket.socket] = []
        self._again: dict[socket.socket, asyncio.TimerHandle] = {}
        self._accepting: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.TimerHandle | None = None

    async def start(self, address: str, listeners: Sequence[socket.socket] = ()) -> str:
        """Listen on `HOST:PORT`; return the address with the port that was really taken.

        Args:
            listeners: sockets that listen there already: see `release`.

        Raises:
            OperatorError: the port is in use, or the address is not of this machine.
        """
        loop = asyncio.get_running_loop()
        self._listeners = [*listeners] or await listen(address, self._flag)
        self._server = _WebServer(
            self._handler,
            self._connections,
            self._refuse,
            handler_cancellation=self._handler_cancellation,
            access_log=None,
            keepalive_timeout=self._keepalive_seconds,
            max_line_size=LONGEST_LINE_BYTES,
            max_field_size=LONGEST_LINE_BYTES,
            auto_decompress=False,  # lengths are checked first; what is forwarded stays as it is
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=GOODBYE_SECONDS)
        await self._runner.setup()
        for listener in self._listeners:
            loop.add_reader(listener, self._accept, listener)
        return f"{address.rpartition(':')[0]}:{self._listeners[0].getsockname()[1]}"

    def release(self) -> list[socket.socket]:
        """Take in nobody any more, and hand the listening sockets to another server."""
        loop = asyncio.get_running_loop()
        for timer in self._again.values():
            timer.cancel()
        released, self._listeners = self._listeners, []
        for listener in released:
            loop.remove_reader(listener)
        return released

    async def close(self, drain_seconds: float | None = None) -> None:
        """Stop listening, and answer every request whose head has come: in good order if its body
        and what it asks for come in time, else with 503.

        Args:
            drain_seconds: less patience than usual.
        """
        loop = asyncio.get_running_loop()
        for timer in self._again.values():
            timer.cancel()
        for listener in self._listeners:
            loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()
        if self._accepting:
            await asyncio.wait(self._accepting)
        if self._runner is not None:
            await self._drain(self._drain_seconds if drain_seconds is None else drain_seconds)
            await self._runner.cleanup()
        if self._watching is not None:
            self._watching.cancel()

    async def _drain(self, seconds: float) -> None:
        """Wait until every request is answered: for bodies, for answers, for those cut short."""
        connections = [one for one in self._connections.open if isinstance(one, _Protocol)]
        answering = {done for one in connections if (done := one.end()) is not None}
        body_seconds = min(BODY_SECONDS, seconds)
        for patience, reason, only_bodies in (
            (body_seconds, "the server ends, and the body has not arrived", True),
            (seconds - body_seconds, "the server ends", False),
            (GOODBYE_SECONDS, "", False),
        ):
            if answering:
                _, answering = await asyncio.wait(answering, timeout=patience)
            if answering and reason:
                for one in connections:
                    one.cut_short(f"{reason}; try again", only_bodies)

    def _accept(self, listener: socket.socket) -> None:
        """Take in some of those who wait, and turn away who is one too many."""
        loop = asyncio.get_running_loop()
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                wire, (host, *_) = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_FILES:
                    raise
                self._pause(listener, error)
                return
            wire.setblocking(False)
            if not self._connections.admit(host):
                with suppress(OSError):
                    wire.send(TURNED_AWAY)
                wire.close()
                continue
            protocol = self._server()
            protocol.host = host
            task = loop.create_task(loop.connect_accepted_socket(partial(_the, protocol), wire))
            self._accepting.add(task)
            task.add_done_callback(partial(self._accepted, protocol, wire))
            if self._watching is None:
                self._watching = loop.call_later(WATCH_EVERY_SECONDS, self._watch)

    def _accepted(self, protocol: _Protocol, wire: socket.socket, task: asyncio.Task[Any]) -> None:
        self._accepting.discard(task)
        if task.cancelled() or task.exception() is not None:
            protocol.leave()
            wire.close()

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """The listener stays readable while nobody can be taken in: look again in a while."""
        loop = asyncio.get_running_loop()
        self._connections.say_sometimes("no connection can be taken in", reason=error.strerror)
        self._connections.make_room()
        loop.remove_reader(listener)
        self._again[listener] = loop.call_later(
            ACCEPT_AGAIN_SECONDS, loop.add_reader, listener, self._accept, listener
        )

    def _watch(self) -> None:
        """Look after every connection, again and again as long as there is one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        head, write = self._settings.head_timeout_seconds, self._settings.write_timeout_seconds
        for connection in list(self._connections.open):
            assert isinstance(connection, _Protocol)
            connection.watch(now, head, write)
        self._watching = None
        if self._connections.open or self._accepting:
            self._watching = loop.call_later(WATCH_EVERY_SECONDS, self._watch)


async def listen(address: str, flag: str, *, shared: bool = False) -> list[socket.socket]:
    """Sockets that listen on `HOST:PORT`, one for each address that the host is; port 0 is the same
    for all.

    Args:
        flag: how the address is set, for an error.
        shared: other sockets of this user may listen there, too, and each gets its part.

    Raises:
        OperatorError: the port is in use, or the address is not of this machine.
    """
    try:
        return await _listen(*split_address(address), shared)
    except OSError as error:
        why = f"cannot listen on {address}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            why = f"{address} is in use: stop the other program, or choose another {flag}"
        raise OperatorError(why) from None


async def _listen(host: str, port: int, shared: bool) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            try:
                listener = socket.socket(family, kind, protocol)
            except OSError:  # a family that this machine has no more
                continue
            listeners.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((where[0], port, *where[2:]))
            port = port or listener.getsockname()[1]
            listener.listen(BACKLOG)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _the(protocol: _Protocol) -> _Protocol:
    """What asyncio calls a factory: the connection that has its place already."""
    return protocol
