"""What the read port answers at which path."""

from __future__ import annotations

import json
import time
from functools import lru_cache

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from prometheus_client import Counter, Histogram

from ingest import tasks
from ingest.auth.access import READ
from ingest.auth.callers import Callers
from ingest.errors import NotFound, PromgresError, QueryRefused
from ingest.export.handler import EXPORT, Export
from ingest.http.context import Context
from ingest.http.health import Families, health_routes, read_only
from ingest.http.negotiation import OPENAPI_MEDIA, choose_media
from ingest.http.port import ANY, Port, Route, Routes
from ingest.http.problems import Problem, problem_of
from ingest.http.read_metrics import ANSWERED_BYTES, REQUESTS, SECONDS
from ingest.http.reply import READ_PORT, Reply, problem_reply, response_headers
from ingest.http.server import LONGEST_LINE_BYTES, Ending, HeadRefused
from ingest.http.shares import Slow
from ingest.logs import get_logger
from ingest.ports.openapi import openapi_document
from ingest.prometheus.handler import Prometheus
from ingest.records.answers import refuse_forwarded, refuse_read
from ingest.records.forward import Forwarder
from ingest.records.paths import RECORD_PATHS
from ingest.records.read import ReadRecords
from ingest.rpc.handler import RPC, Rpc
from ingest.rpc.request import asked_schema
from ingest.rpc.schema_cache import SchemaCache
from ingest.storage.read import ReadDatabase
from ingest.ui.pages import BELOW, UI, serve_page, to_the_page
from ingest.ui.status import STATUS, status_page

SUPABASE = "/rest/v1"
RECORD_METHODS = "OPTIONS,GET,HEAD,POST"
TOO_LONG = f"The request line or a header is longer than {LONGEST_LINE_BYTES} bytes"

log = get_logger("api")


def read_routes(
    database: ReadDatabase,
    schema_cache: SchemaCache,
    callers: Callers,
    rpc: Rpc,
    read: ReadRecords,
    forward: Forwarder,
    export: Export,
    slow: Slow,
    families: Families,
    prometheus: Prometheus,
) -> Routes:
    """The table of the read port.

    Args:
        families: what `/metrics` shows.
    """

    async def openapi(context: Context) -> Reply:
        """Always a new look: this page is how people see what they have just added."""
        if context.path == "/" and (page := to_the_page(context)) is not None:
            return page
        request = context.request
        media = choose_media(context.header("Accept"), OPENAPI_MEDIA)
        caller = await callers.caller_of(request.headers, request.remote, READ)
        schema, profiled = asked_schema(request.headers, "GET", schema_cache.schemas)
        catalogue = await schema_cache.catalogue(time.monotonic(), schema)
        functions = [each for named in catalogue.functions.values() for each in named]
        callable_oids = await database.executable(caller.role, [each.oid for each in functions])
        document = openapi_document(
            [each for each in functions if each.oid in callable_oids], request.host
        )
        headers = {"Content-Type": media.value}
        if profiled:
            headers["Content-Profile"] = schema
        return Reply(200, json.dumps(document).encode(), headers)

    async def ready() -> str | None:
        """Ready is a database that answers as it would a read, and holds what the read side
        needs."""
        if (trouble := tasks.trouble()) is not None:
            return trouble
        try:
            await schema_cache.catalogue(time.monotonic())
        except PromgresError as error:
            problem = problem_of(error)
            return problem.details or problem.message
        return None

    async def record_options(context: Context) -> Reply:
        context.function = f"/api/v1/{RECORD_PATHS[context.path]}"
        return Reply(200, b"", {"Allow": RECORD_METHODS})

    reads = read_only(Route(read, refuse_read))
    records = {
        "OPTIONS": Route(record_options, refuse_read),
        **reads,
        "POST": Route(forward, refuse_forwarded),
    }

    async def supabase(context: Context) -> Reply:
        """The same paths where supabase-js looks for them."""
        context.path = context.path.removeprefix(SUPABASE)
        if context.path.startswith(RPC):
            return await rpc(context)
        if context.path in ("", "/") and context.method in ("GET", "HEAD"):
            context.function = "/"
            return await openapi(context)
        raise NotFound("Invalid path specified in request URL")

    status = status_page(callers, database, ready, forward.ask, slow)
    return {
        RPC: {ANY: Route(rpc, refuse_page)},
        "/rest/": {ANY: Route(supabase, refuse_page)},
        **prometheus.routes(),
        **dict.fromkeys(RECORD_PATHS, records),
        EXPORT: read_only(Route(export, refuse_page)),
        "/": read_only(Route(openapi, refuse_page)),
        UI: read_only(Route(serve_page, refuse_page)),
        STATUS: read_only(Route(status, refuse_page)),
        BELOW: read_only(Route(serve_page, refuse_page)),
        **health_routes(ready, callers.sees, refuse_page, families),
    }


def read_port(routes: Routes) -> Port:
    """What answers by such a table."""
    return Port(routes, refuse_page, READ_PORT, _observe)


def refuse_page(_: Context, error: Exception) -> Reply:
    """The words of `/rpc`, and of pages of no API."""
    if isinstance(error, QueryRefused):
        log.error("the database refuses what is ours", sqlstate=error.sqlstate, exc_info=error)
    return problem_reply(problem_of(error))


def refuse(request: web.BaseRequest, status: int, error: BaseException | None) -> web.Response:
    """A problem as any other of this port for what is not HTTP, or what the server cuts short."""
    details = None
    if isinstance(error, Ending | HeadRefused):
        details = error.message[:1].upper() + error.message[1:]
    elif isinstance(error, LineTooLong):
        details = TOO_LONG
    problem = Problem(status, "PGRST100", "The request is not valid HTTP", details)
    if isinstance(error, Ending):
        problem = Problem(status, "PGRST003", str(details))
    reply = problem_reply(problem)
    headers = response_headers(reply, request.headers)
    return web.Response(status=status, body=reply.body, headers=headers)


@lru_cache(maxsize=1000)
def _counted(function: str, status: int) -> tuple[Counter, Histogram]:
    """Where a request is counted: to look that up costs more than to count."""
    return REQUESTS.labels(function, str(status)), SECONDS.labels(function)


def _observe(context: Context, reply: Reply, seconds: float) -> None:
    requests, durations = _counted(context.function, reply.status)
    requests.inc()
    durations.observe(seconds)
    ANSWERED_BYTES.inc(reply.sent_bytes)
    log.debug(
        "request",
        method=context.method,
        path=context.path,
        status=reply.status,
        milliseconds=round(seconds * 1000, 2),
        remote=context.request.remote,
    )
