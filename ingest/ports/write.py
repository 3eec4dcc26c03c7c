"""What the write side answers at which path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from ingest.auth.authenticator import Authenticator
from ingest.auth.credentials import cache_headers
from ingest.errors import KeyRefused, Unavailable
from ingest.http.server import PRODUCT, Ending, HeadRefused
from ingest.metrics import exposition
from ingest.records.paths import PUSH_PATHS
from ingest.records.read_writing import PushedHandler
from ingest.records.write import PushHandler
from ingest.remote_write import answers
from ingest.remote_write.handler import WriteHandler

COME_AGAIN_SECONDS = 2
WRITE_PATHS = ("/write", "/api/v1/write", "/api/v1/push")

Ready = Callable[[], Awaitable[str | None]]
"""Why a write would not be taken now; None if it would."""
Handler = Callable[[web.Request], Awaitable[web.Response]]


def build_app(
    write: WriteHandler,
    push: PushHandler,
    pushed: PushedHandler,
    ready: Ready,
    authenticator: Authenticator,
) -> web.Application:
    """Routes of the write side. Handlers limit their bodies themselves.

    Args:
        push: takes measures and events.
        pushed: shows them.
        authenticator: decides whose metrics `/metrics` shows.
    """
    app = web.Application()
    app.on_response_prepare.append(_tell_caches)
    for path in WRITE_PATHS:
        app.router.add_route("*", path, write)
    for path in PUSH_PATHS:
        app.router.add_get(path, pushed)
        app.router.add_route("*", path, push)
    app.router.add_get("/metrics", _metrics_handler(authenticator))
    app.router.add_get("/-/healthy", _healthy)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/", _welcome)
    app.router.add_get("/-/ready", _ready_handler(ready))
    return app


def refuse(_: web.BaseRequest, status: int, error: BaseException | None) -> web.Response:
    """The words of the write side for what is no HTTP, or what a handler let fall."""
    text = "internal error"
    if status < 500:
        text = error.message if isinstance(error, HeadRefused) else "the request is no valid HTTP"
    elif isinstance(error, Ending):
        text = error.message
    return web.Response(status=status, text=text + "\n", headers={"Server": PRODUCT})


async def come_again(request: web.BaseRequest) -> web.Response:
    """The answer to everything before the database was met for the first time."""
    if request.path in ("/-/healthy", "/healthz"):
        return web.Response(text="ok\n")
    text = "the database has not been reached yet; try again\n"
    headers = {"Server": PRODUCT, "Retry-After": str(COME_AGAIN_SECONDS)}
    response = web.Response(status=503, text=text, headers=headers)
    response.force_close()
    return response


async def _tell_caches(request: web.Request, response: web.StreamResponse) -> None:
    told = cache_headers(request.headers)
    response.headers.update(told | {"Vary": f"Accept-Encoding, {told['Vary']}", "Server": PRODUCT})


def _metrics_handler(authenticator: Authenticator) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        try:
            sees = await authenticator.sees(request.headers, request.remote)
        except KeyRefused as error:
            return answers.request_error(error)
        except Unavailable as error:
            return answers.unavailable(error)
        body, content_type = exposition(sees)
        return web.Response(body=body, headers={"Content-Type": content_type})

    return handler


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _healthz(_: web.Request) -> web.Response:
    """The same under the older API's name, and in its words."""
    return web.Response(text="ok")


async def _welcome(_: web.Request) -> web.Response:
    """The older API said so, too."""
    return web.Response(text="welcome to promgres")


def _ready_handler(ready: Ready) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        why_not = await ready()
        if why_not is None:
            return web.Response(text="ready\n")
        return web.Response(status=503, text=f"{why_not}\n")

    return handler
