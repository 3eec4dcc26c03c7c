"""Reading a request's body, within a size and a time."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ingest.readapi.problems import Problem, bad_body

BODY_SECONDS = 20.0
"""A body that has not arrived by then is not waited for."""


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body, decompressed if it says that it is compressed.

    Raises:
        Problem: 413, longer than `limit` bytes; 408, too slow; 400, it does not decompress.
    """
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await _invite(request)
            return await _read(request, limit)
    except TimeoutError:
        message = f"The body did not arrive within {BODY_SECONDS:.0f} s"
        raise Problem(408, "PGRST102", message, headers={"Connection": "close"}) from None
    except web.RequestPayloadError:
        raise bad_body("The body does not match its Content-Encoding") from None


async def _invite(request: web.BaseRequest) -> None:
    """Clients with a long body (curl) ask first, and would otherwise wait for a second."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def _read(request: web.BaseRequest, limit: int) -> bytes:
    parts, length = [], 0
    async for part in request.content.iter_any():
        length += len(part)
        if length > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem(413, "PGRST102", f"The body is longer than {limit} bytes")
