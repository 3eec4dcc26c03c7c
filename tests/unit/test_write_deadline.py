"""Every sender is answered in time, wherever its request is stuck."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from aiohttp import web

from ingest.admission import Bodies
from ingest.config import ReceiverSettings, Settings, WriterSettings
from ingest.intake import Decoder, Limits
from ingest.intake.quotas import UNLIMITED
from ingest.intake.rates import Rates
from ingest.metrics import TenantNames
from ingest.model import Counts, Intake
from ingest.remote_write.handler import WriteHandler
from ingest.routing import Router
from ingest.series.cache import SeriesCache
from ingest.storage.database import Database
from ingest.writer.backlog import SMALLEST_LIMIT_ROWS
from ingest.writer.ledger import Ledger
from ingest.writer.pipeline import Pipeline
from ingest.writer.store_or_spool import StoreOrSpool
from tests.support.fake_database import FakeDatabase, FakeEngine
from tests.support.keys import open_gate
from tests.support.remote_write import HEADERS

LONG_SECONDS, SHORT_SECONDS = 3600.0, 0.05
EMPTY = b"\0"
"""The snappy block of a message without series."""


class Request:
    """As much of a request as the handler looks at.

    Args:
        pieces: its body; None never comes.
    """

    method, headers, remote, content_length = "POST", HEADERS, "test", None

    def __init__(self, *pieces: bytes | None) -> None:
        self.content = self
        self._pieces = pieces

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if piece is None:
                await asyncio.Event().wait()
            else:
                yield piece


def handler(ledger: Ledger) -> WriteHandler:
    """One that lets requests wait for room as long as they like."""
    cache = SeriesCache(1000)
    receiver = ReceiverSettings(backlog_seconds=LONG_SECONDS)
    database = cast(Database, FakeDatabase())
    pipeline = Pipeline(
        database, FakeEngine(), cache, ledger, WriterSettings(), receiver, UNLIMITED
    )
    rates = Rates(UNLIMITED)
    return WriteHandler(
        Decoder(Router(Settings()), cache, Limits(lambda _target, _now: 0, 0)),
        StoreOrSpool(pipeline, ledger, None, LONG_SECONDS),
        ledger,
        Bodies(open_gate(), rates, pipeline.backlog, 1000, SHORT_SECONDS),
        rates,
        1000,
    )


@pytest.mark.parametrize("is_full", [False, True], ids=["body", "backlog"])
async def test_who_is_stuck_is_told_to_try_again(is_full: bool) -> None:
    ledger = Ledger(TenantNames(lambda _: "default"))
    write = handler(ledger)
    if is_full:
        ledger.receive(Intake(sent=Counts(samples=10**6 * SMALLEST_LIMIT_ROWS)))
    request = Request(EMPTY, *([] if is_full else [None]))
    async with asyncio.timeout(10):
        response = await write(cast(web.Request, request))
    assert response.status == 503
    assert response.headers["Retry-After"]
