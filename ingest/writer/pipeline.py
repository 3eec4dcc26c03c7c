"""All writers of a process: rows in, results out."""

from __future__ import annotations

import asyncio

from ingest.config import ReceiverSettings, WriterSettings
from ingest.intake.quotas import Quotas
from ingest.model import Intake, Rejection
from ingest.series.cache import SeriesCache
from ingest.storage.database import Database
from ingest.storage.engine import Engine
from ingest.writer.backlog import Backlog
from ingest.writer.batch import batches_of, cut, split
from ingest.writer.commit import Flusher, Part
from ingest.writer.ledger import Accounts
from ingest.writer.metrics import SERIES_CACHE_BYTES, SERIES_CACHED
from ingest.writer.series_ids import Resolver
from ingest.writer.series_limits import Newcomers
from ingest.writer.shard import Lane
from ingest.writer.ticket import Ticket


class Writers:
    """Several lanes; a series always goes through the same one.

    So two lanes never meet at one key, whatever is sent twice at once. The two hands of one may:
    both go through the keys in order, so that one waits for the other and never both.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        cache: SeriesCache,
        accounts: Accounts,
        settings: WriterSettings,
        receiver: ReceiverSettings,
        quotas: Quotas,
    ) -> None:
        limits = quotas.settings
        self.backlog = Backlog(
            lambda: accounts.in_flight + accounts.beside_samples,
            receiver.backlog_seconds,
            accounts.in_flight_of,
            limits.tenant_share,
            limits.concurrent_requests,
        )
        self._max_batch_rows = settings.max_batch_rows
        flusher = Flusher(database, engine, cache, accounts)
        self.outcomes = flusher.outcomes
        self.lanes = [
            Lane(flusher, self.backlog, settings.max_batch_rows) for _ in range(settings.writers)
        ]
        self._accounts = accounts
        self._database = database
        newcomers = Newcomers(quotas, database.count_series)
        self._resolver = Resolver(database, cache, newcomers)
        SERIES_CACHED.set_function(lambda: len(cache))
        SERIES_CACHE_BYTES.set_function(lambda: cache.approximate_bytes)
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Set the lanes to work."""
        self._running = [asyncio.create_task(lane.run()) for lane in self.lanes]

    async def close(self, seconds: float | None = None) -> None:
        """Write all that was put in, as far as that takes no longer."""
        for lane in self.lanes:
            lane.close()
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def reach(self) -> bool:
        """Whether the database answers now: what failed, failed for another reason."""
        return await self._database.ready()

    async def write(
        self, intake: Intake, ticket: Ticket, settled: int = 0, is_replay: bool = False
    ) -> list[Rejection]:
        """Store a request's rows; return what the database rejected.

        Cancelling this cancels no batch.

        Args:
            ticket: knows at any time how many rows have no result yet.
            settled: rows that were accounted for in an earlier attempt.
            is_replay: the request was acknowledged; what limits requests does not hold for it.

        Raises:
            Unavailable: not all of it is known to be stored; some may be, a retry is harmless.
        """
        ids: dict[bytes, int] = {}
        if intake.new:
            resolved = await self._resolver.resolve(intake.new, is_replay)
            settled -= self._reject(intake.tenant_id, ticket, resolved.rejections, settled)
            ids = resolved.ids
        parts = [
            (lane, Part(intake.tenant_id, piece, ticket, generation=intake.generation))
            for batch in batches_of(intake, ids)
            for lane, share in split(batch, len(self.lanes))
            for piece in cut(share, self._max_batch_rows)
        ]
        for _, part in parts:
            if part.batch.store.is_counted:
                part.settled = min(settled, len(part.batch))
                settled -= part.settled
        ticket.expect(len(parts))
        for lane, part in parts:
            self.lanes[lane].put(part)
        return await ticket.wait()

    def _reject(
        self, tenant_id: int, ticket: Ticket, rejections: list[Rejection], settled: int
    ) -> int:
        """Count samples of refused series; how many of them were accounted for before."""
        samples = sum(rejection.accounted for rejection in rejections)
        exemplars = sum(rejection.exemplars for rejection in rejections)
        counted_before = min(settled, samples)
        if not ticket.detached:
            self._accounts.settle(tenant_id, "rejected", samples - counted_before)
            self._accounts.settle_exemplars(tenant_id, exemplars, written=0, rejected=exemplars)
        ticket.reject(samples - counted_before, rejections)
        return counted_before
