"""A small HTTP server that answers pushes as a test tells it to."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Push(NamedTuple):
    """A request that arrived."""

    path: str
    headers: Mapping[str, str]
    items: list[Any]
    connection: int


class Reply(NamedTuple):
    """What to answer.

    Attributes:
        cut: close the connection instead of answering.
        stores: whether the items are stored before that.
        hold: wait for this first.
    """

    status: int = 201
    body: str = '{"stored":0}'
    headers: Mapping[str, str] = {}
    cut: bool = False
    stores: bool = False
    hold: threading.Event | None = None


STORED = Reply(stores=True)


class RecordsServer(ThreadingHTTPServer):
    """Answers POST by a script, and after its end stores what comes.

    Attributes:
        pushes: what arrived, in order.
        stored: items by idempotency key, as a server keeps them.
        repeated: how many items came again after they were stored.
    """

    daemon_threads = True

    def __init__(self, script: Sequence[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pushes: list[Push] = []
        self.stored: dict[str, Any] = {}
        self.repeated = 0
        self.pages: dict[str, Reply] = {}
        self.news = threading.Condition()
        self._script = list(script)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def names(self) -> list[str]:
        """Of the stored items, in the order of their storing."""
        return [_bare(item)["name"] for item in self.stored.values()]

    def wait_for_pushes(self, count: int) -> None:
        """Wait until so many requests have arrived.

        Raises:
            AssertionError: not within 30 s.
        """
        with self.news:
            assert self.news.wait_for(lambda: len(self.pushes) >= count, 30), self.pushes

    def next_reply(self, push: Push) -> Reply:
        """Note a request; what to answer."""
        with self.news:
            reply = self._script.pop(0) if self._script else STORED
            self.pushes.append(push)
            self.news.notify_all()
            for item in push.items if reply.stores else ():
                key = _bare(item)["idempotency_key"]
                self.repeated += key in self.stored
                self.stored.setdefault(key, item)
            return reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RecordsServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        items = json.loads(body, parse_float=str)
        push = Push(self.path, dict(self.headers), items, self.client_address[1])
        self._answer(self.server.next_reply(push))

    def do_GET(self) -> None:
        self.server.pushes.append(Push(self.path, dict(self.headers), [], self.client_address[1]))
        self._answer(self.server.pages[self.path])

    def _answer(self, reply: Reply) -> None:
        if reply.hold is not None:
            assert reply.hold.wait(30)
        if reply.cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = reply.body.encode()
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""


@contextmanager
def records_server(*script: Reply) -> Iterator[RecordsServer]:
    """A server in a thread, ended with the block."""
    with RecordsServer(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _bare(item: dict[str, Any]) -> dict[str, Any]:
    """An item without the kind around it."""
    bare: dict[str, Any] = item.get("M") or item.get("E") or item
    return bare
