"""Reading a request's body, within a size and a time."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable

from aiohttp import web

from ingest.errors import BadBody, PayloadTooLarge, TooSlow, UnsupportedMedia
from ingest.wire.encoding.gzip import GZIP_OR_ZLIB, TooLong, inflate

BODY_SECONDS = 20.0
"""A body that has not arrived by then is not waited for."""

_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body, decompressed if it says that it is compressed.

    Raises:
        PayloadTooLarge: longer than `limit` bytes.
        TooSlow: it does not arrive.
        UnsupportedMedia: another compression than gzip or deflate.
        BadBody: it does not decompress.
    """
    body = await read_as_sent(request, limit)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _COMPRESSED:
        raise UnsupportedMedia("Only gzip and deflate are taken as Content-Encoding")
    try:
        return inflate(body, limit, GZIP_OR_ZLIB)
    except (zlib.error, EOFError):
        raise BadBody("The body does not match its Content-Encoding") from None
    except TooLong:
        raise PayloadTooLarge(f"The body is longer than {limit} bytes") from None


async def read_as_sent(
    request: web.BaseRequest, limit: int, grow: Callable[[int], None] = lambda _: None
) -> bytes:
    """The whole body, compressed as it may be.

    Args:
        grow: as `read_pieces` has it.

    Raises:
        PayloadTooLarge: longer than `limit` bytes.
        TooSlow: it does not arrive.
        BadBody: it is cut.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await read_pieces(request, limit, grow)
    except TooLong:
        raise PayloadTooLarge(f"The body is longer than {limit} bytes") from None
    except TimeoutError:
        raise TooSlow(f"The body did not arrive within {BODY_SECONDS:.0f} s") from None
    except web.RequestPayloadError:
        raise BadBody("The body is cut, or its chunks are malformed") from None


async def read_pieces(request: web.BaseRequest, limit: int, grow: Callable[[int], None]) -> bytes:
    """A body however long it takes to come.

    Args:
        grow: called with how many bytes have come, whenever more have; it may raise.

    Raises:
        TooLong: it is longer than `limit` bytes, or says so.
    """
    if (request.content_length or 0) > limit:
        raise TooLong
    if request.headers.get("Expect", "").lower() == "100-continue":
        # Clients with a long body (curl) ask first, and would otherwise wait for a second.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    pieces, length, content = [], 0, request.content
    while not content.at_eof():
        piece = await content.readany()
        length += len(piece)
        if length > limit:
            raise TooLong
        grow(length)
        pieces.append(piece)
    return b"".join(pieces)
