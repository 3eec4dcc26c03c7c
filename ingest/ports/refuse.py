"""The words of the read side for what is no HTTP."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from ingest.http.problems import Problem
from ingest.http.reply import problem_reply, response_headers
from ingest.http.server import LONGEST_LINE_BYTES, Ending, HeadRefused

TOO_LONG = f"The request line or a header is longer than {LONGEST_LINE_BYTES} bytes"


def refuse(request: web.BaseRequest, status: int, error: BaseException | None) -> web.Response:
    """A problem as any other of this side."""
    if isinstance(error, Ending):
        what = error.message[:1].upper() + error.message[1:]
        reply = problem_reply(Problem(status, "PGRST003", what))
        headers = response_headers(reply, request.headers)
        return web.Response(status=status, body=reply.body, headers=headers)
    details = None
    if isinstance(error, LineTooLong):
        details = TOO_LONG
    elif isinstance(error, HeadRefused):
        details = error.message[:1].upper() + error.message[1:]
    reply = problem_reply(Problem(status, "PGRST100", "The request is no valid HTTP", details))
    headers = response_headers(reply, request.headers)
    return web.Response(status=status, body=reply.body, headers=headers)
