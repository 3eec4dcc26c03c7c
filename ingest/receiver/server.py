"""The HTTP server of the write side."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

from aiohttp import web

from ingest.errors import KeyRefused, OperatorError, Unavailable
from ingest.metrics import exposition
from ingest.pushed import PUSH_PATHS
from ingest.receiver import answers
from ingest.receiver.httpserver import Runner
from ingest.receiver.push import PushHandler
from ingest.receiver.pushed import PushedHandler
from ingest.receiver.write import WriteHandler
from ingest.tenants.credentials import cache_headers
from ingest.tenants.gate import Gate

WRITE_PATHS = ("/write", "/api/v1/write", "/api/v1/push")

LONGEST_LINE_BYTES = 32 * 1024
"""Of the request line and of each header, as on the read side: filters of measures fit in."""

Ready = Callable[[], Awaitable[bool]]
Handler = Callable[[web.Request], Awaitable[web.Response]]


def build_app(
    write: WriteHandler, push: PushHandler, pushed: PushedHandler, ready: Ready, gate: Gate
) -> web.Application:
    """Routes of the write side. Handlers limit their bodies themselves.

    Args:
        push: takes measures and events.
        pushed: shows them.
        gate: decides whose metrics `/metrics` shows.
    """
    app = web.Application()
    app.on_response_prepare.append(_tell_caches)
    for path in WRITE_PATHS:
        app.router.add_route("*", path, write)
    for path in PUSH_PATHS:
        app.router.add_get(path, pushed)
        app.router.add_route("*", path, push)
    app.router.add_get("/metrics", _metrics_handler(gate))
    app.router.add_get("/-/healthy", _healthy)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/", _welcome)
    app.router.add_get("/-/ready", _ready_handler(ready))
    return app


class Server:
    """Listens until closed; closing lets requests that are under way finish."""

    def __init__(self, app: web.Application, drain_seconds: float) -> None:
        self._runner = Runner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=drain_seconds,
            auto_decompress=False,  # lengths are checked before anything is decompressed
            max_line_size=LONGEST_LINE_BYTES,
            max_field_size=LONGEST_LINE_BYTES,
        )

    async def start(self, address: str) -> str:
        """Listen on `HOST:PORT`; return the address with the port that was really taken.

        Raises:
            OperatorError: the port is in use, or the address is not of this machine.
        """
        host, _, port = address.rpartition(":")
        await self._runner.setup()
        site = web.TCPSite(self._runner, host.strip("[]"), int(port), backlog=1024)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise OperatorError(_why_not(address, error)) from None
        return f"{host}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop listening, wait for the answers of requests under way."""
        await self._runner.cleanup()


def _why_not(address: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use; stop the other program or choose another --listen"
    return f"cannot listen on {address}: {error.strerror or error}"


async def _tell_caches(request: web.Request, response: web.StreamResponse) -> None:
    told = cache_headers(request.headers)
    response.headers.update(told | {"Vary": f"Accept-Encoding, {told['Vary']}"})


def _metrics_handler(gate: Gate) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        try:
            sees = await gate.sees(request.headers, request.remote)
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
        if await ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="the database is not reachable\n")

    return handler
