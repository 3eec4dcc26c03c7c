"""aiohttp's server, with words of ours for what is no HTTP: aiohttp quotes the line that it does
not understand, to the sender and in the log, and a key may be in it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ingest.logs import get_logger

log = get_logger("receiver")


class _Protocol(web.RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what cannot be parsed, or what a handler has let through."""
        if status < 500:
            kind = type(exc).__name__
            log.debug("no HTTP", sender=request.remote, status=status, kind=kind)
        else:
            log.error("a request failed", sender=request.remote, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, another one cannot follow")
        text = "the request is no valid HTTP\n" if status < 500 else "internal error\n"
        response = web.Response(status=status, text=text)
        response.force_close()
        return response


class _Server(web.Server):
    """Makes such connections."""

    def __call__(self) -> web.RequestHandler:
        """A protocol for a new connection."""
        kwargs: dict[str, Any] = self._kwargs
        return _Protocol(self, loop=self._loop, **kwargs)


class Runner(web.AppRunner):
    """Serves an application over them."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )
