"""aiohttp's server, with our errors for what is no HTTP, and silent about it: aiohttp quotes the
line that it does not understand, and a key may be in it."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from ingest.logs import get_logger
from ingest.readapi.problems import Problem
from ingest.readapi.reply import problem_reply, response_headers

KEEPALIVE_SECONDS = 75
LONGEST_LINE_BYTES = 32 * 1024
"""Of the request line and of each header: arguments of a GET and tokens fit in."""

TOO_LONG = f"The request line or a header is longer than {LONGEST_LINE_BYTES} bytes"

log = get_logger("api")


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
        """Answer what cannot be parsed. Strangers send such things: no traceback for each."""
        kind = type(exc).__name__
        log.debug("no HTTP", remote=request.remote, status=status, kind=kind)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, another one cannot follow")
        details = TOO_LONG if isinstance(exc, LineTooLong) else None
        reply = problem_reply(Problem(status, "PGRST100", "The request is no valid HTTP", details))
        headers = response_headers(reply, request.headers)
        response = web.Response(status=status, body=reply.body, headers=headers)
        response.force_close()
        return response


class HttpServer(web.Server):
    """Hands every request to one handler: there is nothing to route that a dict cannot."""

    def __call__(self) -> web.RequestHandler:
        """A protocol for a new connection."""
        return _Protocol(
            self,
            loop=self._loop,
            access_log=None,  # type: ignore[arg-type]  # as aiohttp documents it
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_line_size=LONGEST_LINE_BYTES,
            max_field_size=LONGEST_LINE_BYTES,
            auto_decompress=False,  # what is forwarded stays as it was sent
        )
