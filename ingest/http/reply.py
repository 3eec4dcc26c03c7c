"""What a request is answered, and how that becomes HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

from ingest.auth.credentials import VARY, says_who
from ingest.http.cors import cors_headers
from ingest.http.negotiation import Media, choose_encoding
from ingest.http.problems import Problem
from ingest.http.server import PRODUCT
from ingest.logs import without_secrets
from ingest.wire.encoding.answers import AnswerEncoding, Compressor
from ingest.wire.encoding.answers import compress as compressed

LEAST_COMPRESSED_BYTES = 1024
COMPRESSED_ELSEWHERE_BYTES = 32 * 1024
"""From here on compression would hold up other requests, and is done in a thread."""

SLICE_BYTES = 256 * 1024
"""What is handed to a connection at once."""


@dataclass(slots=True)
class Reply:
    """An answer before compression.

    Attributes:
        body: None for an answer that has none (204, and nothing about its length is said).
        headers: `Content-Type` among them if there is a body.
        sent: the answer, if it is on its way already.
        sent_bytes: of its body, after compression.
    """

    status: int
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    sent: web.StreamResponse | None = None
    sent_bytes: int = 0


def text_reply(text: str, status: int = 200) -> Reply:
    """Text for people and probes. What it quotes of a request may hold an API key: without it."""
    body = without_secrets(text).encode("utf-8", "replace")
    return Reply(status, body, {"Content-Type": "text/plain; charset=utf-8"})


def problem_reply(problem: Problem) -> Reply:
    """The four keys, and the code where proxies look for it."""
    # SQL chooses some of the codes; a header holds not every character.
    code = "".join(each for each in problem.code if each.isascii() and each.isalnum())
    headers = {
        "Content-Type": Media.JSON.value,
        "Proxy-Status": f"Promgres; error={code}",
        **problem.headers,
    }
    return Reply(problem.status, problem.body, headers)


class Manners(NamedTuple):
    """What the answers of one port have in common.

    Attributes:
        vary: headers of requests on which answers depend, those that say who asks among them.
        crosses_origins: pages of other origins may read them.
    """

    vary: str
    crosses_origins: bool


WRITE_PORT = Manners(f"Accept-Encoding, {VARY}", crosses_origins=False)
READ_PORT = Manners(f"Accept, Prefer, Range, Accept-Encoding, {VARY}", crosses_origins=True)


def response_headers(
    reply: Reply, asked: Mapping[str, str], port: Manners = READ_PORT
) -> dict[str, str]:
    """The reply's headers and those that every answer has."""
    headers = {"Server": PRODUCT, "Vary": port.vary}
    if says_who(asked):  # of a key in `Authorization` caches know by themselves, of others not
        headers["Cache-Control"] = "no-store"
    headers |= reply.headers
    return headers | cors_headers(asked) if port.crosses_origins else headers


async def http_response(reply: Reply, request: web.BaseRequest, port: Manners) -> web.Response:
    """The reply as HTTP: compressed if that is wanted and worth it, without a body for HEAD."""
    if reply.body is not None and request.method != "HEAD":
        await compress(reply, request.headers)
        reply.sent_bytes = len(reply.body)
    else:
        reply.body = None
    headers = response_headers(reply, request.headers, port)
    kind = NoContent if reply.status == 204 else web.Response
    return kind(status=reply.status, body=reply.body, headers=headers)


class NoContent(web.Response):
    """What nearly every write is answered: a head alone. aiohttp takes two dozen calls to write it,
    a twentieth of what a small request costs."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write it, where nothing is to be said of the connection."""
        if (
            self.keep_alive is not None
            or not request.keep_alive
            or request.version != HttpVersion11
        ):
            return await super().prepare(request)
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        date = rfc822_formatted_time()
        head = "\r\n".join(["HTTP/1.1 204 No Content", *lines, f"Date: {date}", "\r\n"])
        await request.writer.write(head.encode())
        await request.writer.drain()
        self._keep_alive = self._eof_sent = True
        return None


async def compress(reply: Reply, asked: Mapping[str, str]) -> None:
    """Compress the body of a reply, if that is wanted and worth it."""
    if reply.body is None or len(reply.body) < LEAST_COMPRESSED_BYTES:
        return
    if encoding := choose_encoding(asked.get("Accept-Encoding")):
        reply.headers["Content-Encoding"] = encoding
        if len(reply.body) < COMPRESSED_ELSEWHERE_BYTES:
            reply.body = compressed(reply.body, encoding)
        else:
            reply.body = await asyncio.to_thread(compressed, reply.body, encoding)


class ClientGone(Exception):
    """The client does not take its answer any more, or not fast enough."""


class Sending:
    """An answer on its way, part after part, as fast as its client takes them.

    Attributes:
        response: what aiohttp gets to see; its head is out.
        sent_bytes: of the body, after compression.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        encoding: AnswerEncoding | None,
    ):
        self.response = response
        self.sent_bytes = 0
        self._request = request
        self._compressor = Compressor(encoding) if encoding else None

    @classmethod
    async def begin(
        cls,
        request: web.BaseRequest,
        reply: Reply,
        length: int | None,
        encoding: AnswerEncoding | None,
    ) -> Sending:
        """Send the head of an answer, whatever of a body the reply has.

        Args:
            length: bytes of the body that is to come; None if nobody knows.
            encoding: how it is to be compressed, part by part.

        Raises:
            ClientGone: the client is gone.
        """
        headers = response_headers(reply, request.headers)
        if encoding:
            headers["Content-Encoding"] = encoding
        elif length is not None:
            headers["Content-Length"] = str(length)
        response = web.StreamResponse(status=reply.status, headers=headers)
        with _client_may_go():
            await response.prepare(request)
        return cls(request, response, encoding)

    async def write(self, part: bytes) -> None:
        """Send a part of the body; returns when its client has taken most of it.

        Raises:
            ClientGone: the client is gone.
        """
        if self._compressor is not None:
            part = await asyncio.to_thread(self._compressor.part, part)
        await self._send(part)

    async def end(self) -> None:
        """The body is complete.

        Raises:
            ClientGone: the client is gone.
        """
        if self._compressor is not None:
            await self._send(self._compressor.end())
        with _client_may_go():
            await self.response.write_eof()

    def cut(self) -> None:
        """The rest cannot be had: end the connection, so that nobody takes this for the whole."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _send(self, part: bytes) -> None:
        self.sent_bytes += len(part)
        with _client_may_go():
            for start in range(0, len(part), SLICE_BYTES):
                await self.response.write(memoryview(part)[start : start + SLICE_BYTES])


@contextmanager
def _client_may_go() -> Iterator[None]:
    """An error of this connection is none of the database's."""
    try:
        yield
    except (ConnectionError, RuntimeError) as error:
        raise ClientGone from error
