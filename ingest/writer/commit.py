"""Rows that wait for one store become one transaction: attempt, retry, bisect, settle.

    attempt ──committed──────────────────────────────► settle: written, duplicate
       │ ▲
       │ ├──retry: a deadlock, a partition that is gone (`Verdict.RETRY`), 5 times
       │ └──again without what holds ids that were removed (`LifeEnded`)
       ├──some row can never be stored (`Verdict.REJECT`): bisect, request by request, in attempts
       │  of their own, down to the rows that are refused ──► settle: written, duplicate, rejected
       └──the database is away or unwell, or a defect of ours ──► fail: the senders hear of it

Samples that are all new go straight into the sample table. A batch with a duplicate is refused
there; it goes through staging, whose trigger dedupes, and so do the next ones: twice as many each
time that the direct path fails, until it works again. A failed attempt leaves dead rows behind, so
with duplicates in every batch only one in 65 tries. Samples of times that are packed go straight
into the table of late rows, and before the commit blocks are asked whether they may have them;
those that may, and all of times that are closed and not packed yet, go through staging, whose
trigger looks for each. Items always go through staging; its triggers, too, have a short way, which
they are told to try as long as the batch before had no duplicate. With `writer.direct = false`
there is no other way than staging, whose triggers then also mark what rollups have to know; else
the transaction ends with those marks, of which many stand (`series/marks.py`).

A duplicate is a sample of a series and time that are stored, whatever its value: the first one
stays. For the next 64 batches after one it is remembered which samples are stored
(`series/stamps.py`), and each commit leaves a mark with them (`storage/life.py`). What is known to
be stored is not sent at all: the transaction that holds the rest of the batch says at its end
whether the memory holds, or one that does nothing else. What may be stored, since something as late
was sent of its series, goes through staging, and the rest straight, in one transaction. Where such
rows are still under way in the other worker's transaction, it is waited for: then they are known.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from ingest.errors import Unavailable
from ingest.logs import get_logger
from ingest.model import Int64s, Rejection
from ingest.series.cache import SeriesCache
from ingest.series.stamps import Look, Mask
from ingest.storage.database import DATABASE_ERRORS, Database, Sought, Stored, Touched, unavailable
from ingest.storage.engine import Engine, Straight
from ingest.storage.life import End, LifeEnded, WentBack
from ingest.storage.pgerrors import Verdict, verdict_of, why_retried
from ingest.stores import RECORDS, STORES, TARGETS
from ingest.writer.batch import Batch, SampleBatch, halves
from ingest.writer.ledger import Ledger, PendingRows
from ingest.writer.metrics import BATCH_ROWS, BATCHES, COPY_SECONDS, REMEMBERED, RETRIES
from ingest.writer.rejections import RejectedRow, rejections_of

log = get_logger("writer")

MOST_RETRIES = 5
MINUTE_MS, DAY_MS = 60_000, 86_400_000
LATE_MS = 5 * MINUTE_MS
"""Of older samples rollups are told whose they are: one metric's are no other's business."""
LONGEST_BACKOFF = 64
REMEMBERS_FOR = 64
"""So many batches after one with duplicates it is remembered what is stored. Who never meets any
pays for no memory and no marks."""
FRESH_SECONDS = 5.0
"""A commit so lately says that the next one succeeds, too."""

Way = tuple[str, Straight]
"""A target, and the table of it that rows go straight into."""

Sent = Callable[[], None] | None
"""Called, once or more often, when all rows are on their way to the server, which still has work to
do: the next transaction may be sent. None where no one waits for that."""


class Outcomes:
    """How the last transactions ended: the cheapest answer to whether the database takes writes.

    Attributes:
        is_doubtful: the last one failed.
        commits: how many were committed.
    """

    def __init__(self) -> None:
        self.is_doubtful = False
        self.commits = 0
        self._committed_at: float | None = None

    def committed(self) -> None:
        """A batch is committed."""
        self.is_doubtful = False
        self.commits += 1
        self._committed_at = asyncio.get_running_loop().time()

    def failed(self) -> None:
        """The database did not take a batch that is as it should be."""
        self.is_doubtful = True

    @property
    def is_fresh(self) -> bool:
        """Whether the last batch was committed, and lately."""
        if self.is_doubtful or self._committed_at is None:
            return False
        return asyncio.get_running_loop().time() - self._committed_at < FRESH_SECONDS


class Committer:
    """Takes rows of one store to the database; every one of them gets its result.

    Attributes:
        outcomes: how the last transactions ended.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        cache: SeriesCache,
        ledger: Ledger,
        is_direct: bool = True,
    ) -> None:
        self.outcomes = Outcomes()
        self._database = database
        self._engine = engine
        self._cache = cache
        self._ledger = ledger
        self._is_direct = is_direct
        # By target and table: how many batches go through staging after the next failure of the
        # direct path, and how many of them are left. At first the direct path is tried at once.
        self._backoff: dict[Way, int] = defaultdict(lambda: 1)
        self._staged_left: dict[Way, int] = defaultdict(int)
        self._met_duplicates = dict.fromkeys(STORES, False)
        # By store: for how many batches it is still remembered what they hold.
        self._remembers_for = dict.fromkeys(STORES, 0)
        self._under_way: dict[asyncio.Future[None], Sequence[SampleBatch]] = {}

    async def commit(self, store: str, waiting: Sequence[PendingRows], sent: Sent) -> int:
        """One transaction, a COPY for each tenant. Every request is told, whatever happens.

        Args:
            waiting: rows of this store.

        Returns:
            How many rows are decided; the others have to be written again.
        """
        for attempts_left in reversed(range(MOST_RETRIES)):
            waiting, end = self._still_good(store, waiting), self._database.end()
            if not waiting:
                return 0
            by_tenant: dict[int, list[PendingRows]] = {}
            for pending in waiting:
                by_tenant.setdefault(pending.request.tenant_id, []).append(pending)
            # In one order, as the other worker has it, so that they wait for each other in turn.
            shares = [by_tenant[tenant_id] for tenant_id in sorted(by_tenant)]
            batches = [_merged(share) for share in shares]
            try:
                if self._remembers_for[store]:
                    counts = await self._write_new(store, cast(Any, batches), sent)
                else:
                    counts = (await self._attempt(store, batches, None, sent, end)).new_rows
                break
            except LifeEnded as error:
                if not attempts_left:
                    return self._fail(store, waiting, error)
            except Exception as error:
                if verdict_of(error) is Verdict.REJECT:
                    return sum([await self._bisect(store, pending, end) for pending in waiting])
                return self._fail(store, waiting, error)
        for share, new_rows in zip(shares, counts, strict=True):
            self._settle(share, new_rows)
        rows = sum(len(pending.rows) for pending in waiting)
        if store in TARGETS and self._is_direct:
            left = self._remembers_for[store]
            self._remembers_for[store] = REMEMBERS_FOR if sum(counts) < rows else max(0, left - 1)
        return rows

    async def _write_new(self, store: str, batches: Sequence[SampleBatch], sent: Sent) -> list[int]:
        """Of samples, what is not known to be stored; how many rows of each batch were new."""
        stamps = self._cache.stamps
        generation = self._cache.generation
        looks = [stamps.look(batch.rows) for batch in batches]
        while under_way := self._not_yet_known(batches, looks):
            await asyncio.wait(under_way)
            looks = [stamps.look(batch.rows) for batch in batches]
        if generation != self._cache.generation:
            raise LifeEnded("series were removed while another transaction was waited for")
        parts, doubtful = [], []
        for batch, look in zip(batches, looks, strict=True):
            left = np.flatnonzero(~look.stored)
            part = batch.take(left) if len(left) < len(batch) else batch
            if len(part):
                parts.append(part)
                doubtful.append(look.doubtful[left])
                stamps.send(part.rows)
        memory = stamps.generation
        with self._flying(parts):
            if parts:
                end = self._database.end(remembers=True)
                stored = await self._attempt(store, parts, doubtful, sent, end)
                if stored.is_covered and memory == stamps.generation:
                    for part in parts:
                        stamps.store(part.rows)
            else:
                stored = await self._affirm(store, sent)
        new_rows = iter(stored.new_rows)
        REMEMBERED.labels(store).inc(sum(int(look.stored.sum()) for look in looks))
        return [0 if look.stored.all() else next(new_rows) for look in looks]

    async def _affirm(self, store: str, sent: Sent) -> Stored:
        """All of a batch is known to be stored, if the database says so now."""
        if sent is not None:
            sent()
        await self._database.affirm(self._database.end())
        self.outcomes.committed()
        BATCHES.add(1, store, "memory")
        return Stored([], False)

    def _not_yet_known(
        self, batches: Sequence[SampleBatch], looks: Sequence[Look]
    ) -> list[asyncio.Future[None]]:
        """Transactions under way with series of which it is in doubt whether they are stored."""
        doubtful = [
            batch.rows.series_id[look.doubtful] for batch, look in zip(batches, looks, strict=True)
        ]
        if not any(map(len, doubtful)):
            return []
        series_ids = np.concatenate(doubtful)
        return [
            done
            for done, parts in self._under_way.items()
            if any(np.isin(series_ids, part.rows.series_id).any() for part in parts)
        ]

    @contextmanager
    def _flying(self, parts: Sequence[SampleBatch]) -> Iterator[None]:
        """Rows that are under way until the block ends."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way[done] = parts
        try:
            yield
        finally:
            del self._under_way[done]
            done.set_result(None)

    def _still_good(self, store: str, waiting: Sequence[PendingRows]) -> Sequence[PendingRows]:
        """Those whose ids still mean what they meant when they were looked up; the others fail, and
        are decoded again when they come again, from their sender or from the spool."""
        if store in RECORDS:  # they hold no ids of series
            return waiting
        good: list[PendingRows] = []
        stale: list[PendingRows] = []
        for each in waiting:
            ended = self._cache.ended_since(each.generation)
            if ended and STORES[store].owner != "series":
                ended = frozenset()
            is_good = ended is not None and (not ended or ended.isdisjoint(each.rows.owner_ids))
            (good if is_good else stale).append(each)
        if stale:
            self._fail(store, stale, WentBack("series of it were removed since it was decoded"))
        return good

    async def _attempt(
        self,
        store: str,
        batches: Sequence[Batch],
        doubtful: Sequence[Mask] | None,
        sent: Sent,
        end: End,
    ) -> Stored:
        """Commit the batches together; how many rows of each were new.

        Args:
            doubtful: which rows of each may be stored; None where nothing is remembered.

        Raises:
            DATABASE_ERRORS: nothing of it is stored, or the outcome of the commit is unknown.
        """
        retries = 0
        while True:
            try:
                for batch in batches:
                    for first, last in runs_of_days(batch.timestamp_ms):
                        await self._engine.prepare(
                            self._database.pool, store, first * DAY_MS, (last + 1) * DAY_MS - 1
                        )
                started = time.perf_counter()
                try:
                    stored = await self._copy(store, batches, doubtful, sent, end)
                finally:
                    COPY_SECONDS.observe(time.perf_counter() - started, store)
                break
            except DATABASE_ERRORS as error:
                reason = why_retried(error)
                if retries == MOST_RETRIES or reason is None:
                    raise
                retries += 1
                RETRIES.labels(store, reason).inc()
                self._engine.forget(store)
                log.info("batch tried again", store=store, reason=str(error))
        self.outcomes.committed()
        BATCH_ROWS.observe(sum(map(len, batches)), store)
        return stored

    async def _copy(
        self,
        store: str,
        batches: Sequence[Batch],
        doubtful: Sequence[Mask] | None,
        sent: Sent,
        end: End,
    ) -> Stored:
        """One transaction, by the path that is right for it; how many rows of each were new."""
        expects_duplicates = self._met_duplicates[store]
        touched, stored, into = None, None, None
        if store in TARGETS and self._is_direct:
            into = self._engine.straight_into(store, *_period_of(batches))
            touched = await self._touched(store, cast(Any, batches))
            if touched.late and touched.late.keys:
                end = end._replace(remembers=True)
        if touched is not None and into is not None:
            straight, others = _parted(batches, doubtful)
            way = store, into
            if not into.is_late:  # those may be refused for what blocks have beside them
                expects_duplicates = True
            if others and sum(map(len, straight)) < sum(map(len, others)):
                pass
            elif self._staged_left[way]:
                self._staged_left[way] -= 1
            else:
                stored = await self._append(store, into, straight, others, touched, sent, end)
                if stored is None:
                    self._staged_left[way] = self._backoff[way] - 1
                    self._backoff[way] = min(self._backoff[way] * 2, LONGEST_BACKOFF)
                else:
                    self._backoff[way] = 1
        if stored is None:
            BATCHES.add(1, store, "staging")
            payloads = [batch.encode() for batch in batches]
            stored = await self._database.copy_to_staging(
                store, payloads, expects_duplicates, sent, end, touched
            )
            self._met_duplicates[store] = sum(stored.new_rows) < sum(map(len, batches))
        if touched and touched.late and stored.is_covered and any(stored.new_rows):
            touched.late.committed()
        return stored

    async def _touched(self, target: str, batches: Sequence[SampleBatch]) -> Touched:
        """What of the batches rollups have to know."""
        timestamp_ms = np.concatenate([batch.timestamp_ms for batch in batches])
        late = timestamp_ms < time.time_ns() // 1_000_000 - LATE_MS
        if not late.any():
            return Touched(_minutes_of(timestamp_ms))
        series_ids = np.concatenate([batch.rows.series_id for batch in batches])[late]
        marks, generation = self._cache.marks, self._cache.generation
        now = asyncio.get_running_loop().time()
        while (asked := marks.asks(target, series_ids, now)) is not None:
            state = await self._database.late_state(target, asked)
            if generation != self._cache.generation:
                raise LifeEnded("series were removed while their metrics were asked for")
            marks.learn(target, asked, state, now)
        return Touched(
            _minutes_of(timestamp_ms[~late]), marks.of(target, series_ids, timestamp_ms[late])
        )

    async def _append(
        self,
        store: str,
        into: Straight,
        straight: Sequence[Batch],
        others: Sequence[Batch],
        touched: Touched,
        sent: Sent,
        end: End,
    ) -> Stored | None:
        """Past staging, but for what may be stored; None if the database refuses.

        Args:
            straight, others: the batches in two parts; no others at all if no row is doubtful.
        """
        staged = [batch.encode() for batch in others if len(batch)]
        stored = await self._database.append_samples(
            store,
            into.table,
            [batch.encode() for batch in straight],
            touched,
            sent,
            end,
            staged,
            sought_of(cast(Any, straight)) if into.is_late else None,
        )
        if stored is None:
            return None
        BATCHES.add(1, store, "mixed" if staged else "direct")
        counts = [len(batch) for batch in straight]
        new_rows = iter(stored.new_rows)
        for number, batch in enumerate(others):
            counts[number] += next(new_rows) if len(batch) else 0
        return Stored(counts, stored.is_covered)

    async def _bisect(self, store: str, pending: PendingRows, end: End) -> int:
        """Write one request's rows without those that the database will never take.

        By itself, so that no request depends on another one's rejected rows.
        """
        pieces = [_merged([pending])]
        rejected: list[RejectedRow] = []
        new_rows = 0
        while pieces:
            piece = pieces.pop()
            try:
                stored = await self._attempt(store, [piece], None, None, end)
                new_rows += sum(stored.new_rows)
            except Exception as error:
                if verdict_of(error) is not Verdict.REJECT:
                    return self._fail(store, [pending], error)
                if len(piece) > 1:
                    pieces += reversed(halves(piece))
                else:
                    rejected.append(RejectedRow(piece, error))
        self._settle([pending], new_rows, await rejections_of(self._database, rejected))
        return len(pending.rows)

    def _settle(
        self, share: Sequence[PendingRows], new_rows: int, rejections: Sequence[Rejection] = ()
    ) -> None:
        """One tenant's rows are committed, but for what is rejected."""
        if not rejections:
            for pending in share:
                pending.rows.remember(self._cache)
        self._ledger.settle(share, new_rows, rejections)

    def _fail(self, store: str, waiting: Sequence[PendingRows], error: Exception) -> int:
        """Tell the requests; a defect of ours must not leave senders waiting either. None of the
        rows is decided."""
        is_theirs = isinstance(error, DATABASE_ERRORS)
        failure = (
            unavailable(error) if is_theirs else Unavailable("internal error", blames_request=True)
        )
        for pending in waiting:
            pending.fail(failure)
        if is_theirs:
            self.outcomes.failed()
            log.warning("batch not written", store=store, reason=str(failure), error=str(error))
        else:
            log.error("batch failed", store=store, exc_info=error)
        return 0


def sought_of(batches: Sequence[SampleBatch]) -> Sought:
    """What of the batches, which are sorted by series, blocks are asked for."""
    ids = np.concatenate([batch.rows.series_id for batch in batches])
    is_first = np.ones(len(ids), bool)
    is_first[1:] = ids[1:] != ids[:-1]
    return Sought(ids[is_first].tolist(), *_period_of(batches))


def _period_of(batches: Sequence[Batch]) -> tuple[int, int]:
    """Their oldest and their newest timestamp."""
    stamps = [batch.timestamp_ms for batch in batches if len(batch)]
    return min(int(each.min()) for each in stamps), max(int(each.max()) for each in stamps)


def runs_of_days(timestamp_ms: Int64s) -> list[tuple[int, int]]:
    """First and last day (since 1970, UTC) of each run of consecutive days with rows: partitions
    are made for them, and none in between."""
    if not len(timestamp_ms):
        return []
    first, last = int(timestamp_ms.min()) // DAY_MS, int(timestamp_ms.max()) // DAY_MS
    if first == last:  # nearly always
        return [(first, first)]
    days = np.unique(timestamp_ms // DAY_MS)
    # A run ends before each day that is not the next one.
    cuts = np.flatnonzero(np.diff(days) > 1)
    firsts = days[np.concatenate([[0], cuts + 1])]
    lasts = days[np.concatenate([cuts, [len(days) - 1]])]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]


def _parted(
    batches: Sequence[Batch], doubtful: Sequence[Mask] | None
) -> tuple[Sequence[Batch], Sequence[Batch]]:
    """The same batches without the doubtful rows, and with nothing else; none if there are no
    such rows."""
    if doubtful is None or not any(mask.any() for mask in doubtful):
        return batches, ()
    pairs = list(zip(batches, doubtful, strict=True))
    return (
        [batch.take(np.flatnonzero(~mask)) for batch, mask in pairs],
        [batch.take(np.flatnonzero(mask)) for batch, mask in pairs],
    )


def _merged(share: Sequence[PendingRows]) -> Batch:
    first, *others = [pending.rows for pending in share]
    return first.merge(others)


def _minutes_of(timestamp_ms: Int64s) -> list[int]:
    """Starts of the minutes of which some are, in order: nearly always one, and nothing to sort."""
    if not len(timestamp_ms):
        return []
    first, last = int(timestamp_ms.min()) // MINUTE_MS, int(timestamp_ms.max()) // MINUTE_MS
    if first == last:
        return [first * MINUTE_MS]
    minutes: list[int] = (np.unique(timestamp_ms // MINUTE_MS) * MINUTE_MS).tolist()
    return minutes
