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
    if encoding in _COMPRESSED:
        return _decompressed(body, limit)
    if encoding in ("", "identity"):
        return body
    raise UnsupportedMedia("Only gzip and deflate are taken as Content-Encoding")


async def read_as_sent(
    request: web.BaseRequest, limit: int, grow: Callable[[int], None] = lambda _: None
) -> bytes:
    """The whole body, compressed as it may be.

    Args:
        grow: called with the length of each part that has come; it may raise.

    Raises:
        PayloadTooLarge: longer than `limit` bytes.
        TooSlow: it does not arrive.
    """
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await invite(request)
            return await _read(request, limit, grow)
    except TimeoutError:
        raise TooSlow(f"The body did not arrive within {BODY_SECONDS:.0f} s") from None
    except web.RequestPayloadError:
        raise BadBody("The body is cut, or its chunks are no chunks") from None


async def invite(request: web.BaseRequest) -> None:
    """Clients with a long body (curl) ask first, and would otherwise wait for a second."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def _read(request: web.BaseRequest, limit: int, grow: Callable[[int], None]) -> bytes:
    parts, length = [], 0
    async for part in request.content.iter_any():
        length += len(part)
        if length > limit:
            raise _too_large(limit)
        grow(len(part))
        parts.append(part)
    return b"".join(parts)


def _decompressed(body: bytes, limit: int) -> bytes:
    try:
        return inflate(body, limit, GZIP_OR_ZLIB)
    except (zlib.error, EOFError):
        raise BadBody("The body does not match its Content-Encoding") from None
    except TooLong:
        raise _too_large(limit) from None


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is longer than {limit} bytes")
