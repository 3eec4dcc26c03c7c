"""The write side in memory: all but HTTP, disk and database is the real thing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from ingest.admission import Admission
from ingest.config import ReceiverSettings, Settings, WriterSettings
from ingest.daemon.background import DRAIN_IDLE_SECONDS, repeat
from ingest.daemon.daemon import LAST_BATCH_SECONDS
from ingest.http.context import Context
from ingest.http.port import Route, answer
from ingest.http.reply import Reply
from ingest.intake import Decoder, TimeLimits
from ingest.intake.quotas import UNLIMITED
from ingest.intake.rates import RateLimiter
from ingest.metrics import TenantNames
from ingest.remote_write.answers import refuse
from ingest.remote_write.handler import RemoteWrite
from ingest.routing import Router
from ingest.series.cache import SeriesCache
from ingest.writer.ledger import IN_FLIGHT, RESULTS, SAMPLES, SPOOLED, Ledger
from ingest.writer.pipeline import Pipeline
from ingest.writer.spool.queue import Spool
from ingest.writer.spool.replay import Replay
from ingest.writer.store_or_spool import StoreOrSpool
from tests.support.fake_database import FakeDatabase, FakeEngine
from tests.support.keys import open_gate
from tests.support.remote_write import HEADERS
from tests.support.spool_disk import Disk
from tests.support.virtual_loop import VirtualLoop

TENANT = "default"
MAX_BYTES = 1024 * 1024
GOODBYE_SECONDS = 30.0
"""A process that has not ended by then is killed."""


class Request:
    """As much of an HTTP request as the handler looks at."""

    method = "POST"
    headers = HEADERS
    remote = "test"

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.content_length = len(body)
        self.content = self

    def at_eof(self) -> bool:
        """Whether all of the body was read."""
        return not self._body

    async def readany(self) -> bytes:
        """The body, in one piece."""
        body, self._body = self._body, b""
        return body


class MemorySide:
    """One life of a daemon.

    Args:
        spool_dir: None does without a spool.
        backlog_seconds: how long a request waits to be let in.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        database: FakeDatabase,
        spool_dir: Path | None,
        spool_bytes: int,
        receiver: ReceiverSettings,
        writer: WriterSettings,
    ) -> None:
        self.loop = loop
        self.receiver = receiver
        self.ledger = Ledger(TenantNames(lambda _: TENANT))
        self._before = _counts()
        cache = SeriesCache(1000)
        database.connected(cache)
        self._pipeline = Pipeline(
            database, FakeEngine(), cache, self.ledger, writer, receiver, UNLIMITED
        )
        self.disk = None if spool_dir is None else Disk(spool_dir)
        self.spool = None if self.disk is None else self._open_spool(self.disk, spool_bytes)
        self._store = StoreOrSpool(self._pipeline, self.ledger, self.spool, 5.0)
        limits = receiver.model_copy(
            update={"max_body_bytes": MAX_BYTES, "max_decompressed_bytes": MAX_BYTES}
        )
        backlog = self._pipeline.backlog
        admission = Admission(open_gate(), RateLimiter(UNLIMITED), backlog, self.ledger, limits)
        self.router = Router(Settings())
        decoder = Decoder(self.router, cache, TimeLimits(lambda _target, _now: 0, 10**15))
        self.route = Route(RemoteWrite(decoder, self._store, admission).store, refuse)
        self.background: list[asyncio.Task[None]] = []
        loop.call_soon(self._start, decoder)
        loop.turn()

    def _open_spool(self, disk: Disk, spool_bytes: int) -> Spool:
        for tenant_id, share in disk.standing().shares.items():
            self.ledger.find(tenant_id, share.samples)
        return Spool(disk, spool_bytes)

    def _start(self, decoder: Decoder) -> None:
        self._pipeline.start()
        self.background = list(self._pipeline.running)
        if self.spool is not None:
            replay = Replay(self.spool, decoder, self._pipeline, self.ledger, MAX_BYTES)
            work = repeat("spool", DRAIN_IDLE_SECONDS, replay.round)
            self.background.append(self.loop.create_task(work))

    def post(self, body: bytes) -> asyncio.Task[Reply]:
        """Send one request."""
        context = Context(cast(Any, Request(body)), "POST", "/write")
        return self.loop.create_task(answer(self.route, context))

    @property
    def counts(self) -> dict[str, int]:
        """What became of the samples that this life received."""
        now = _counts()
        return {name: now[name] - self._before[name] for name in now}

    def assert_balanced(self) -> None:
        """received = all the others, none of them negative."""
        counts = self.counts
        assert all(count >= 0 for count in counts.values()), counts
        assert counts["received"] * 2 == sum(counts.values()), counts

    def abandon(self) -> None:
        """Let go of the spool's file, as the kernel does for a killed process."""
        if self.disk is not None:
            self.disk.close()

    async def stop(self, requests: Sequence[asyncio.Task[Reply]]) -> None:
        """As `Daemon.stop` does."""
        if requests:
            await asyncio.wait(requests, timeout=self.receiver.answer_timeout_seconds)
        shards = len(self._pipeline.shards)
        for task in self.background[shards:]:
            task.cancel()
        await asyncio.gather(*self.background[shards:], return_exceptions=True)
        await self._store.stop(LAST_BATCH_SECONDS)
        await self._pipeline.stop(LAST_BATCH_SECONDS)
        if self.spool is not None:
            await self.spool.stop()


def _counts() -> dict[str, int]:
    counts = {result: int(SAMPLES.values[TENANT, result]) for result in RESULTS}
    counts["in flight"] = int(IN_FLIGHT.values[TENANT,])
    counts["spooled"] = int(SPOOLED.values[TENANT,])
    return counts
