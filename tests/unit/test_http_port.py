"""What a port makes of what its routes raise."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from ingest.http.context import Context
from ingest.http.port import Route, answer
from ingest.http.reply import ClientGone, Reply, text_reply


def refuse(_: Context, error: Exception) -> Reply:
    return text_reply(type(error).__name__, 503)


@pytest.mark.parametrize(("error", "tracebacks"), [(ClientGone(), 0), (KeyError("x"), 1)])
async def test_a_client_that_is_gone_is_no_defect(error: Exception, tracebacks: int) -> None:
    async def handler(_: Context) -> Reply:
        raise error

    request = make_mocked_request("GET", "/")
    with capture_logs() as said:
        reply = await answer(Route(handler, refuse), Context(request, "GET", "/"))
    assert (reply.status, reply.body) == (503, type(error).__name__.encode())
    assert sum(bool(line.get("exc_info")) for line in said) == tracebacks
