"""Every request of the read side: which page or function it is for, and what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import asyncpg
from aiohttp import web

from ingest import tasks
from ingest.auth.access import READ
from ingest.http.context import Exchange
from ingest.http.cors import is_preflight, preflight_headers
from ingest.http.negotiation import OPENAPI_MEDIA, choose_media
from ingest.http.problems import Problem, no_such_path
from ingest.http.read_metrics import REQUESTS, SECONDS
from ingest.http.reply import Reply, http_response, problem_reply, text_reply
from ingest.logs import get_logger
from ingest.metrics import exposition
from ingest.ports.openapi import openapi_document
from ingest.records.paths import kind_of
from ingest.records.read import Pushes
from ingest.rpc.callers import Callers
from ingest.rpc.database import ReadDatabase
from ingest.rpc.handler import Rpc
from ingest.rpc.pgproblems import problem_of
from ingest.rpc.schema_cache import Directory

Page = Callable[[Exchange], Awaitable[Reply]]

RPC = "/rpc/"

log = get_logger("api")


class ReadApi:
    """The read side's request handler: `await api(request)` never raises."""

    def __init__(
        self,
        database: ReadDatabase,
        directory: Directory,
        callers: Callers,
        rpc: Rpc,
        pushes: Pushes,
    ) -> None:
        self._database = database
        self._directory = directory
        self._callers = callers
        self._rpc = rpc
        self._pushes = pushes
        self._pages: dict[str, Page] = {
            "/": self._openapi,
            "/metrics": self._metrics,
            "/-/healthy": _healthy,
            "/healthz": _healthz,
            "/-/ready": self._ready,
        }

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, count and log one request."""
        started = time.monotonic()
        exchange = Exchange(request)
        reply = await self._answer(exchange)
        response = reply.sent or await http_response(reply, request.method, request.headers)
        seconds = time.monotonic() - started
        REQUESTS.labels(exchange.function, str(reply.status)).inc()
        SECONDS.labels(exchange.function).observe(seconds)
        log.debug(
            "request",
            method=exchange.method,
            path=exchange.path,
            status=reply.status,
            milliseconds=round(seconds * 1000, 2),
            remote=request.remote,
        )
        return response

    async def _answer(self, exchange: Exchange) -> Reply:
        headers = exchange.request.headers
        if is_preflight(exchange.method, headers):
            return Reply(200, b"", preflight_headers(headers))
        try:
            return await self._route(exchange)
        except Problem as problem:
            return problem_reply(problem)
        except asyncpg.PostgresError as error:
            log.exception("the database refuses what is ours", sqlstate=error.sqlstate)
            return problem_reply(problem_of(error, authenticated=True))
        except Exception:
            log.exception("a request failed", path=exchange.path)
            return problem_reply(Problem(500, "PGRSTX00", "Internal server error"))

    async def _route(self, exchange: Exchange) -> Reply:
        page = self._pages.get(exchange.path)
        if page:
            exchange.function = exchange.path
            if exchange.method not in ("GET", "HEAD"):
                message = f"Unsupported HTTP method: {exchange.method}"
                raise Problem(405, "PGRST117", message, headers={"Allow": "GET, HEAD"})
            return await page(exchange)
        kind = kind_of(exchange.path)
        if kind:
            return await self._pushes(exchange, kind)
        if not exchange.path.startswith(RPC):
            raise no_such_path()
        return await self._rpc(exchange, _function_name(exchange.path.removeprefix(RPC)))

    async def _openapi(self, exchange: Exchange) -> Reply:
        """Always a new look: this page is how people see what they have just added."""
        media = choose_media(exchange.header("Accept"), OPENAPI_MEDIA)
        caller = await self._callers.caller_of(exchange.request, READ)
        catalogue = await self._directory.catalogue(time.monotonic())
        functions = [each for named in catalogue.functions.values() for each in named]
        oids = [each.oid for each in functions]
        callable_oids = await self._database.executable(caller.role, oids)
        document = openapi_document(
            [each for each in functions if each.oid in callable_oids], exchange.request.host
        )
        return Reply(200, json.dumps(document).encode(), {"Content-Type": media.value})

    async def _ready(self, _: Exchange) -> Reply:
        """200 while the database answers as it would a read, and holds what the read side needs."""
        trouble = tasks.trouble()
        if trouble is not None:
            return text_reply(trouble, 503)
        try:
            await self._directory.catalogue(time.monotonic())
        except Problem as problem:
            return text_reply(problem.details or problem.message, 503)
        return text_reply("ready")

    async def _metrics(self, exchange: Exchange) -> Reply:
        sees = await self._callers.sees(exchange.request)
        body, content_type = exposition(sees)
        return Reply(200, body, {"Content-Type": content_type})


async def _healthy(_: Exchange) -> Reply:
    return text_reply("ok")


async def _healthz(_: Exchange) -> Reply:
    """The same under the older API's name, and in its words."""
    return Reply(200, b"ok", {"Content-Type": "text/plain; charset=utf-8"})


def _function_name(raw: str) -> str:
    """The last part of the path; anything deeper is no path of ours.

    Raises:
        Problem: 404.
    """
    if not raw or "/" in raw:
        raise no_such_path()
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise no_such_path() from None
