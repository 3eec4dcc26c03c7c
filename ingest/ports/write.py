"""What the write port answers at which path."""

from __future__ import annotations

from collections.abc import Hashable

from aiohttp import web

from ingest.auth.authenticator import Authenticator
from ingest.errors import Busy, MethodNotAllowed, NotFound, Unavailable
from ingest.http.context import Context
from ingest.http.health import Ready, health_routes, read_only
from ingest.http.port import ANY, Port, Route, Routes
from ingest.http.reply import WRITE_PORT, Reply, text_reply
from ingest.http.server import PRODUCT, Ending, HeadRefused
from ingest.records import write as records
from ingest.records.answers import refuse_read, refuse_write
from ingest.records.paths import RECORD_PATHS
from ingest.records.read import ReadRecords
from ingest.records.write import WriteRecords
from ingest.remote_write import handler as remote_write
from ingest.remote_write.answers import refuse as refuse_samples
from ingest.remote_write.handler import RemoteWrite
from ingest.storage.read import ReadTransactions
from ingest.storage.turns import Turns

COME_AGAIN_SECONDS = 2
WRITE_PATHS = ("/write", "/api/v1/write", "/api/v1/push")
READS_AT_ONCE = 1
"""Connections are for writing here; heavy readers use the read port, which has its own."""


def write_routes(
    samples: RemoteWrite,
    store: WriteRecords,
    read: ReadRecords,
    ready: Ready,
    authenticator: Authenticator,
) -> Routes:
    """The table of the write port.

    Args:
        authenticator: decides whose metrics `/metrics` shows.
    """
    stores = Route(samples.store, refuse_samples, remote_write.REQUESTS)
    probes = Route(samples.probe, refuse_samples, remote_write.REQUESTS)
    writes = Route(store.store, refuse_write, records.REQUESTS)
    reads = read_only(Route(read, refuse_read))
    return {
        **{path: {"POST": stores, ANY: probes} for path in WRITE_PATHS},
        **{path: {**reads, ANY: writes} for path in RECORD_PATHS},
        "/": read_only(Route(_welcome, refuse_page)),
        **health_routes(ready, authenticator.sees, refuse_page),
    }


def write_port(routes: Routes) -> Port:
    """What answers by such a table."""
    return Port(routes, refuse_page, WRITE_PORT, lambda *_: None)


def refuse_page(context: Context, error: Exception) -> Reply:
    """The words for pages of no API."""
    if isinstance(error, NotFound):
        return text_reply("404: Not Found", 404)
    reply = refuse_samples(context, error)
    if isinstance(error, MethodNotAllowed):
        reply.body = b"405: Method Not Allowed"
    return reply


def refuse(_: web.BaseRequest, status: int, error: BaseException | None) -> web.Response:
    """The words for what is not HTTP, or what the server cuts short."""
    text = "internal error"
    if status < 500:
        text = error.message if isinstance(error, HeadRefused) else "the request is not valid HTTP"
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


class ReadsHere(ReadTransactions):
    """Few reads at a time, on the connections of the writers."""

    async def take(self, turns: Turns, caller: Hashable) -> None:
        """As `ReadTransactions.take`, but that it says where there is more room.

        Raises:
            Unavailable: too many want to read.
        """
        try:
            await super().take(turns, caller)
        except Busy:
            raise Unavailable("too many reads here; the read side has more room") from None


async def _welcome(_: Context) -> Reply:
    return text_reply("welcome to promgres")  # the legacy API said so, too
