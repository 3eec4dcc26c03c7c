"""aiohttp's server, with our errors for what is no HTTP, and silent about it."""

from __future__ import annotations

from aiohttp import web

from ingest.logs import get_logger
from ingest.readapi.problems import Problem
from ingest.readapi.reply import problem_reply, response_headers

KEEPALIVE_SECONDS = 75
LONGEST_LINE_BYTES = 32 * 1024
"""Of the request line and of each header: arguments of a GET and tokens fit in."""

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
        log.debug("no HTTP", remote=request.remote, status=status, reason=message)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, another one cannot follow")
        reply = problem_reply(Problem(status, "PGRST100", "The request is no valid HTTP", message))
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
