"""One port: which route a request is for, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from aiohttp import web

from ingest.errors import MethodNotAllowed, NotFound, PromgresError
from ingest.http.context import Context
from ingest.http.cors import is_preflight, preflight_headers
from ingest.http.reply import ClientGone, Manners, Reply, http_response
from ingest.logs import get_logger
from ingest.metrics import Tally

ANY = "*"

Refuse = Callable[[Context, Exception], Reply]
"""The words of an API for an error of ours, or for a defect."""


class Route(NamedTuple):
    """What answers a method of a path, in whose words it is refused, and where that is counted by
    status."""

    handler: Callable[[Context], Awaitable[Reply]]
    refuse: Refuse
    requests: Tally | None = None


Routes = Mapping[str, Mapping[str, Route]]
"""By path, then by method, or `ANY` other. A path that ends with `/` stands for all below it."""

log = get_logger("http")


class Port:
    """Answers every request of one port: `await port(request)` never raises.

    Args:
        refuse: the words for what no route takes.
        observe: told of every answer, and how many seconds it took.
    """

    def __init__(
        self,
        routes: Routes,
        refuse: Refuse,
        manners: Manners,
        observe: Callable[[Context, Reply, float], None],
    ) -> None:
        self._routes = routes
        self._refuse = refuse
        self._manners = manners
        self._observe = observe

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, count and log one request."""
        started = time.monotonic()
        context = Context(request, request.method, request.rel_url.raw_path)
        reply = await self._answer(context)
        response = reply.sent or await http_response(reply, request, self._manners)
        self._observe(context, reply, time.monotonic() - started)
        return response

    async def _answer(self, context: Context) -> Reply:
        path, method = context.path, context.method
        if self._manners.crosses_origins and is_preflight(method, context.request.headers):
            return Reply(200, b"", preflight_headers(context.request.headers))
        methods = self._routes.get(path)
        if methods is not None:
            context.function = path
        else:
            methods = self._routes.get(path[: path.find("/", 1) + 1])
        if methods is None:
            return self._refuse(context, NotFound("Invalid path specified in request URL"))
        route = methods.get(method) or methods.get(ANY)
        if route is None:
            allow = ", ".join(methods)
            error = MethodNotAllowed(f"Unsupported HTTP method: {method}", allow)
            return next(iter(methods.values())).refuse(context, error)
        return await answer(route, context)


async def answer(route: Route, context: Context) -> Reply:
    """What a route answers, errors as its API words them."""
    try:
        reply = await route.handler(context)
    except PromgresError as error:
        reply = route.refuse(context, error)
    except Exception as error:
        if not isinstance(error, ClientGone):
            log.exception("a request failed", path=context.path, sender=context.request.remote)
        reply = route.refuse(context, error)
    if route.requests is not None:
        route.requests.add(1, str(reply.status))
    return reply
