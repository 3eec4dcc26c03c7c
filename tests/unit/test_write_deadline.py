"""Every sender is answered in time, wherever its request is stuck."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from ingest.admission import Admission
from ingest.config import ReceiverSettings, Settings, WriterSettings
from ingest.http.context import Context
from ingest.http.port import Route, answer
from ingest.intake import Decoder, TimeLimits
from ingest.intake.quotas import UNLIMITED
from ingest.intake.rates import RateLimiter
from ingest.metrics import TenantNames
from ingest.model import Counts, Intake
from ingest.remote_write.answers import refuse
from ingest.remote_write.handler import RemoteWrite
from ingest.routing import Router
from ingest.series.cache import SeriesCache
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
        self._pieces = [*pieces]

    def at_eof(self) -> bool:
        return not self._pieces

    async def readany(self) -> bytes:
        piece = self._pieces.pop(0)
        if piece is None:
            await asyncio.Event().wait()
        assert piece is not None
        return piece


def write_route(ledger: Ledger) -> Route:
    """One that lets requests wait for room as long as they like."""
    cache = SeriesCache(1000)
    receiver = ReceiverSettings(backlog_seconds=LONG_SECONDS)
    database = FakeDatabase()
    pipeline = Pipeline(
        database, FakeEngine(), cache, ledger, WriterSettings(), receiver, UNLIMITED
    )
    limits = ReceiverSettings(answer_timeout_seconds=SHORT_SECONDS)
    admission = Admission(open_gate(), RateLimiter(UNLIMITED), pipeline.backlog, ledger, limits)
    decoder = Decoder(Router(Settings()), cache, TimeLimits(lambda _target, _now: 0, 0))
    return Route(
        RemoteWrite(decoder, StoreOrSpool(pipeline, ledger, None, LONG_SECONDS), admission).store,
        refuse,
    )


@pytest.mark.parametrize("is_full", [False, True], ids=["body", "backlog"])
async def test_who_is_stuck_is_told_to_try_again(is_full: bool) -> None:
    ledger = Ledger(TenantNames(lambda _: "default"))
    route = write_route(ledger)
    if is_full:
        ledger.receive(Intake(sent=Counts(samples=10**6 * SMALLEST_LIMIT_ROWS)))
    request = Request(EMPTY, *([] if is_full else [None]))
    async with asyncio.timeout(60):
        response = await answer(route, Context(cast(Any, request), "POST", "/write"))
    assert response.status == 503
    assert response.headers["Retry-After"]
