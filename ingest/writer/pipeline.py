"""The write pipeline of a process: requests in, results out.

A request gets ids for its new series (`series_ids.py`), becomes rows by store (`batch.py`), which
are split among the shards (`shard.py`), each of which commits what waits for it (`commit.py`).
"""

from __future__ import annotations

import asyncio

from ingest.config import ReceiverSettings, WriterSettings
from ingest.intake.quotas import TenantQuotas
from ingest.model import Intake, Rejection, SeriesId
from ingest.series.cache import SeriesCache
from ingest.storage.database import Database
from ingest.storage.engine import Engine
from ingest.writer.backlog import Backlog
from ingest.writer.batch import batches_of, cut, split
from ingest.writer.commit import Committer
from ingest.writer.ledger import Ledger, PendingRequest
from ingest.writer.metrics import SERIES_CACHE_BYTES, SERIES_CACHED
from ingest.writer.series_ids import SeriesIds
from ingest.writer.series_limits import SeriesLimits
from ingest.writer.shard import Shard


class Pipeline:
    """Several shards; a series always goes through the same one.

    So two shards never meet at one key, whatever is sent twice at once. The two workers of one may:
    both go through the keys in order, so that one waits for the other and never both.

    Attributes:
        backlog: lets in what may wait here.
        outcomes: how the last transactions ended.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        cache: SeriesCache,
        ledger: Ledger,
        settings: WriterSettings,
        receiver: ReceiverSettings,
        quotas: TenantQuotas,
    ) -> None:
        self.backlog = Backlog(
            ledger.rows_in_flight,
            receiver.backlog_seconds,
            ledger.samples_in_flight,
            quotas.settings.tenant_share,
            quotas.settings.concurrent_requests,
        )
        committer = Committer(database, engine, cache, ledger, settings.direct)
        self.outcomes = committer.outcomes
        self.shards = [
            Shard(committer, self.backlog, settings.max_batch_rows) for _ in range(settings.writers)
        ]
        self._max_batch_rows = settings.max_batch_rows
        self._database = database
        self._series_ids = SeriesIds(database, cache, SeriesLimits(quotas, database.count_series))
        self._running: list[asyncio.Task[None]] = []
        SERIES_CACHED.set_function(lambda: len(cache))
        SERIES_CACHE_BYTES.set_function(lambda: cache.approximate_bytes)

    def start(self) -> None:
        """Set the shards to work."""
        self._running = [asyncio.create_task(shard.run()) for shard in self.shards]

    async def stop(self, seconds: float | None = None) -> None:
        """Write all that was put in, as far as that takes no longer."""
        for shard in self.shards:
            shard.close()
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """The shards' tasks, none of which ends before `stop`."""
        return self._running

    async def reach(self) -> bool:
        """Whether the database answers now: what failed, failed for another reason."""
        return await self._database.ready()

    async def write(
        self, intake: Intake, request: PendingRequest, is_replay: bool = False
    ) -> list[Rejection]:
        """Store a request's rows; return what the database rejected.

        Cancelling this cancels no batch.

        Args:
            is_replay: the request was acknowledged; what limits requests does not hold for it.

        Raises:
            Unavailable: not all of it is known to be stored; some may be, a retry is harmless.
        """
        if intake.new:
            await self.put_new(intake, request, is_replay)
        else:
            self.put(intake, request, {})
        await request.wait()
        return request.outcome()

    async def put_new(
        self, intake: Intake, request: PendingRequest, is_replay: bool = False
    ) -> None:
        """As `put`, once the series of the request that have no id yet have got one.

        Raises:
            Unavailable: they have not.
        """
        resolved = await self._series_ids.resolve(intake.new, is_replay)
        request.reject(resolved.rejections)
        self.put(intake, request, resolved.ids)

    def put(self, intake: Intake, request: PendingRequest, ids: dict[bytes, SeriesId]) -> None:
        """Queue a request's rows, of which the request hears when they are decided.

        Args:
            ids: of new series by identity; what belongs to the others is left out.
        """
        claims = [
            (number, request.claim(piece, intake.generation))
            for rows in batches_of(intake, ids)
            for number, share in split(rows, len(self.shards))
            for piece in cut(share, self._max_batch_rows)
        ]
        for number, pending in claims:
            self.shards[number].put(pending)
