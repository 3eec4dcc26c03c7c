"""Write the parts that wait for one store: one transaction, culprits of a refusal singled out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ingest.errors import Unavailable
from ingest.logs import get_logger
from ingest.model import Int64s, Rejection
from ingest.series.cache import SeriesCache
from ingest.storage.database import DATABASE_ERRORS, Database, unavailable
from ingest.storage.engine import Engine
from ingest.storage.pgerrors import Verdict, verdict_of
from ingest.storage.timeline import WentBack
from ingest.stores import RECORDS
from ingest.writer.batch import Batch, halves
from ingest.writer.ledger import Accounts
from ingest.writer.metrics import BATCH_ROWS, COPY_SECONDS
from ingest.writer.outcomes import Outcomes
from ingest.writer.rejections import Culprit, rejections_of
from ingest.writer.ticket import Ticket
from ingest.writer.way import Way

log = get_logger("writer")

RETRIES = 5
DAY_MS = 86_400_000


@dataclass(slots=True)
class Part:
    """Rows of one request for one store.

    `settled` of them were accounted for in an earlier attempt and are not counted again. Their ids
    are from a `generation` of the series cache. It is open until its ticket has heard of it, which
    happens once.
    """

    tenant_id: int
    batch: Batch
    ticket: Ticket
    settled: int = 0
    generation: int = 0
    is_open: bool = True

    @property
    def weight(self) -> int:
        """How much of a batch it takes, in samples."""
        return len(self.batch) * self.batch.row_weight

    @property
    def counted(self) -> int:
        """Rows whose result is still to be counted; exemplars and metadata are no samples."""
        if self.ticket.detached or not self.batch.store.is_counted:
            return 0
        return len(self.batch) - self.settled

    def settle(self, rejections: Sequence[Rejection]) -> None:
        """It is stored, but for what is rejected."""
        if self.is_open:
            self.is_open = False
            self.ticket.settle(self.counted, rejections)

    def fail(self, failure: Unavailable) -> None:
        """It cannot be stored now."""
        if self.is_open:
            self.is_open = False
            self.ticket.fail(failure)


class Flusher:
    """Takes parts of one store to the database; every one of them gets its result."""

    def __init__(
        self, database: Database, engine: Engine, cache: SeriesCache, accounts: Accounts
    ) -> None:
        self._database = database
        self._engine = engine
        self._cache = cache
        self._way = Way(database)
        self._accounts = accounts
        self.outcomes = Outcomes()

    async def flush(self, store: str, parts: list[Part], sent: Callable[[], None]) -> bool:
        """One transaction, a COPY for each tenant. Every ticket is told, whatever happens.

        Args:
            sent: called when all rows are on their way to the server, once or more often; never if
                that never comes.

        Returns:
            Whether every row is decided; if not, some have to be written again.
        """
        stale = [part for part in parts if part.generation != self._cache.generation]
        if stale and store not in RECORDS:  # those hold no ids of series
            self._fail(store, stale, WentBack("the database went back in time"))
            await self.flush(
                store,
                [part for part in parts if part.generation == self._cache.generation],
                sent,
            )
            return False
        if not parts:
            return True
        shares = _by_tenant(parts)
        try:
            counts = await self._copy(store, [_merge(share) for share in shares], sent)
        except Exception as error:
            if verdict_of(error) is Verdict.REJECT:
                return all([await self._isolate(store, part) for part in parts])
            return self._fail(store, parts, error)
        for share, new_rows in zip(shares, counts, strict=True):
            self._settle(share, new_rows)
        return True

    async def _copy(
        self, store: str, batches: Sequence[Batch], sent: Callable[[], None]
    ) -> list[int]:
        payloads = [batch.encode() for batch in batches]
        for attempt in range(RETRIES + 1):
            try:
                for batch in batches:
                    await self._prepare(store, batch)
                with COPY_SECONDS.labels(store).time():
                    counts = await self._way.copy(store, batches, payloads, sent)
                self.outcomes.committed()
                break
            except DATABASE_ERRORS as error:
                if attempt == RETRIES or verdict_of(error) is not Verdict.RETRY:
                    raise
                self._engine.forget(store)
                log.info("batch tried again", store=store, reason=str(error))
        BATCH_ROWS.labels(store).observe(sum(len(batch) for batch in batches))
        return counts

    async def _prepare(self, store: str, batch: Batch) -> None:
        """Have the partitions of these rows made, and none in between."""
        for first, last in runs_of_days(batch.timestamp_ms):
            await self._engine.prepare(
                self._database.pool, store, first * DAY_MS, (last + 1) * DAY_MS - 1
            )

    async def _isolate(self, store: str, part: Part) -> bool:
        """Write one request's rows without those that the database will never take.

        By itself, so that no request depends on another one's culprit.

        Returns:
            Whether every row is decided.
        """
        pending: list[Batch] = [_merge([part])]
        culprits: list[Culprit] = []
        new_rows = 0
        while pending:
            piece = pending.pop()
            try:
                [count] = await self._copy(store, [piece], _nobody_waits)
                new_rows += count
            except Exception as error:
                if verdict_of(error) is not Verdict.REJECT:
                    return self._fail(store, [part], error)
                if len(piece) > 1:
                    pending += reversed(halves(piece))
                else:
                    culprits.append(Culprit(piece, error))
        self._settle([part], new_rows, await rejections_of(self._database, culprits))
        return True

    def _settle(
        self, parts: list[Part], new_rows: int, rejections: Sequence[Rejection] = ()
    ) -> None:
        """Count what became of one tenant's rows, then tell their tickets."""
        tenant_id = parts[0].tenant_id
        counted = sum(part.counted for part in parts)
        rejected = min(len(rejections), counted)
        written = min(new_rows, counted - rejected)
        self._accounts.settle(tenant_id, "rejected", rejected)
        self._accounts.settle(tenant_id, "written", written)
        self._accounts.settle(tenant_id, "duplicate", counted - rejected - written)
        self._note_items(parts, new_rows, len(rejections))
        for part in parts:
            part.settle(rejections)

    def _note_items(self, parts: list[Part], new_rows: int, rejected: int) -> None:
        """What is known of items that are no samples."""
        store = parts[0].batch.store
        if store.counted_as == "exemplars":
            total = sum(len(part.batch) for part in parts)
            self._accounts.settle_exemplars(parts[0].tenant_id, total, new_rows, rejected)
        if not rejected:
            for part in parts:
                part.batch.remember(self._cache)

    def _fail(self, store: str, parts: list[Part], error: Exception) -> bool:
        """Tell the tickets; a defect of ours must not leave senders waiting either."""
        is_theirs = isinstance(error, DATABASE_ERRORS)
        failure = (
            unavailable(error) if is_theirs else Unavailable("internal error", blames_request=True)
        )
        for part in parts:
            part.fail(failure)
        if is_theirs:
            self.outcomes.failed()
            log.warning("batch not written", store=store, reason=str(failure), error=str(error))
        else:
            log.error("batch failed", store=store, exc_info=error)
        return False


def _nobody_waits() -> None:
    """A culprit is looked for: the other hand need not hear of it."""


def _by_tenant(parts: list[Part]) -> list[list[Part]]:
    by_tenant: dict[int, list[Part]] = {}
    for part in parts:
        by_tenant.setdefault(part.tenant_id, []).append(part)
    return [by_tenant[tenant_id] for tenant_id in sorted(by_tenant)]  # as the other hand does


def _merge(parts: list[Part]) -> Batch:
    first, *others = [part.batch for part in parts]
    return first.merge(others)


def runs_of_days(timestamp_ms: Int64s) -> list[tuple[int, int]]:
    """First and last day (since 1970, UTC) of each run of consecutive days with rows."""
    days = np.unique(timestamp_ms // DAY_MS)
    if not len(days):
        return []
    cuts = np.flatnonzero(np.diff(days) > 1)
    firsts = days[np.concatenate([[0], cuts + 1])]
    lasts = days[np.concatenate([cuts, [len(days) - 1]])]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]
