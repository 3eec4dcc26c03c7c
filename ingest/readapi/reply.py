"""What a request is answered, and how that becomes HTTP."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field

import cramjam
from aiohttp import web

from ingest.readapi.cors import cors_headers
from ingest.readapi.metrics import ANSWERED_BYTES
from ingest.readapi.negotiate import Media, choose_encoding
from ingest.readapi.problems import Problem
from ingest.tenants.credentials import cache_headers

PRODUCT = "promgres"
"""What `Server` says: no version, of nothing."""
LEAST_COMPRESSED_BYTES = 1024
COMPRESSED_ELSEWHERE_BYTES = 32 * 1024
"""From here on compression would hold up other requests, and is done in a thread."""

ZSTD_LEVEL = 3
GZIP_LEVEL = 6
VARY = "Accept, Prefer, Range, Accept-Encoding"


@dataclass(slots=True)
class Reply:
    """An answer before compression.

    Attributes:
        body: None for an answer that has none (204, and nothing about its length is said).
        headers: `Content-Type` among them if there is a body.
    """

    status: int
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def text_reply(text: str, status: int = 200) -> Reply:
    """A line for people and probes."""
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    if status == 503:
        headers["Retry-After"] = "1"
    return Reply(status, text.encode() + b"\n", headers)


def problem_reply(problem: Problem) -> Reply:
    """The four keys, and the code where proxies look for it."""
    headers = {
        "Content-Type": Media.JSON.value,
        "Proxy-Status": f"Promgres; error={_token(problem.code)}",
        **problem.headers,
    }
    return Reply(problem.status, problem.body, headers)


def response_headers(reply: Reply, asked: Mapping[str, str]) -> dict[str, str]:
    """The reply's headers and those that every answer has."""
    caching = cache_headers(asked)
    caching["Vary"] = f"{VARY}, {caching['Vary']}"
    return {"Server": PRODUCT, **caching, **reply.headers, **cors_headers(asked)}


async def http_response(reply: Reply, method: str, asked: Mapping[str, str]) -> web.StreamResponse:
    """The reply as HTTP: compressed if that is wanted and worth it, without a body for HEAD."""
    headers = response_headers(reply, asked)
    if reply.body is None or method == "HEAD":
        return web.Response(status=reply.status, headers=headers)
    body = reply.body
    encoding = choose_encoding(asked.get("Accept-Encoding"))
    if encoding and len(body) >= LEAST_COMPRESSED_BYTES:
        headers["Content-Encoding"] = encoding
        body = await _compress(body, encoding)
    ANSWERED_BYTES.inc(len(body))
    return web.Response(status=reply.status, body=body, headers=headers)


async def _compress(body: bytes, encoding: str) -> bytes:
    compress = _zstd if encoding == "zstd" else _gzip
    if len(body) < COMPRESSED_ELSEWHERE_BYTES:
        return compress(body)
    return await asyncio.to_thread(compress, body)


def _zstd(body: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(body, level=ZSTD_LEVEL))


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


def _token(code: str) -> str:
    """A code as a header may hold it: SQL chooses some of them."""
    return "".join(character for character in code if character.isascii() and character.isalnum())
