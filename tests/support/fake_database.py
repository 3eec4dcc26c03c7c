"""A database in memory behind the interface of `ingest.storage.database.Database`, which fails when
and how a test says. Real ones are for the layers `engines` and `faults`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import numpy as np

from ingest.copy_format import HEADER, POSTGRES_EPOCH_MS, TRAILER
from ingest.copy_samples import ROW
from ingest.model import Int64s, Labels, Series, SeriesId, TenantId
from ingest.series.cache import SeriesCache
from ingest.series.marks import MINUTE_MS, LateState
from ingest.storage.database import Database, Sought, Stored, Touched
from ingest.storage.engine import Horizons, Progress, Straight
from ingest.storage.life import End, LifeEnded
from ingest.storage.pool import AnyConnection, Pool

POISON = 666.0
"""A value that a constraint of this database forbids."""
POISONED = ("poison", "yes")
"""A label that another one forbids."""
ALL_METRICS = -1
COMMITTED = ("rows", "ids", "metrics", "metric_of", "marks", "rolled_up", "taken", "_created")


class Fault(Enum):
    """What can come of one call."""

    NONE = "none"
    AWAY = "away"  # no connection
    CUT = "cut"  # in the middle: nothing is stored
    LOST = "lost"  # after the commit: everything is stored, but nobody hears of it
    DEADLOCK = "deadlock"  # tried again at once
    DISK_FULL = "disk full"
    TIMEOUT = "timeout"
    DEFECT = "defect"  # of ours


class Sample(NamedTuple):
    """One stored sample's key."""

    target: str
    series_id: int
    timestamp_ms: int


def minute_of(key: Sample) -> int:
    """Since 1970."""
    return key.timestamp_ms // MINUTE_MS


@dataclass(eq=False)
class FakeDatabase(Database):
    """Stores series and samples; each call meets what `faults` holds next, else `mood`.

    Attributes:
        hanging: calls are answered only after `release`.
        most_rows: larger batches are cancelled, as by a statement timeout.
        breaks_at: a label at which the connection breaks, each time that a series with it is asked.
        rows: what is committed, value by key.
        cache: what the process remembers that is connected, since `connected`.
        ended: by each life that ended the ids that were removed; None: any of them may be.
        samples_ended: numbers of those at whose end somebody had taken samples away.
        affirmed: transactions that did nothing but end.
        metrics: numbers of what series are of, by target and name.
        marks: metrics (negative: all) and minutes of which the worker is to read samples.
        rolled_up: rows that it has read.
        taken: how often it has taken marks away.
    """

    mood: Fault = Fault.NONE
    hanging: bool = False
    most_rows: int = 10**9
    breaks_at: tuple[str, str] | None = None
    faults: list[Fault] = field(default_factory=list)
    rows: dict[Sample, float] = field(default_factory=dict)
    ids: dict[bytes, SeriesId] = field(default_factory=dict)
    pool: Any = None
    cache: SeriesCache | None = None
    ended: list[frozenset[SeriesId] | None] = field(default_factory=list)
    samples_ended: set[int] = field(default_factory=set)
    affirmed: int = 0
    metrics: dict[tuple[str, str], int] = field(default_factory=dict)
    metric_of: dict[SeriesId, int] = field(default_factory=dict)
    marks: set[tuple[int, int]] = field(default_factory=set)
    rolled_up: set[Sample] = field(default_factory=set)
    taken: int = 1
    _created: int = 0
    _known_lives: int = 0
    _gates: list[asyncio.Future[None]] = field(default_factory=list)

    async def resolve_series(self, series: Sequence[Series]) -> dict[bytes, SeriesId]:
        """Ids by identity; a failed call may have created some."""
        end = self.end()
        fault = await self._meet()
        if any(self.breaks_at in one.labels for one in series):
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle")
        if any(POISONED in one.labels for one in series):
            raise asyncpg.CheckViolationError("violates check constraint")
        self._refuse_another_life(end)
        for one in series:
            if one.identity not in self.ids:
                self._created += 1
                series_id = self.ids[one.identity] = SeriesId(self._created)
                of = (one.target, one.name)
                self.metric_of[series_id] = self.metrics.setdefault(of, len(self.metrics))
        self._fail_after_commit(fault)
        return {one.identity: self.ids[one.identity] for one in series}

    def connected(self, cache: SeriesCache) -> None:
        """Another process remembers from now on what it asks."""
        self.cache, self._known_lives = cache, len(self.ended)

    def remove_empty(self) -> None:
        """Series without a row go, and with them a life."""
        full = {key.series_id for key in self.rows}
        gone = {identity: each for identity, each in self.ids.items() if each not in full}
        for identity, series_id in gone.items():
            del self.ids[identity], self.metric_of[series_id]
        self.ended.append(frozenset(gone.values()))

    def take_samples(self, keys: Collection[Sample]) -> None:
        """Somebody deletes these rows, which ends a life."""
        for key in keys:
            del self.rows[key]
        self.rolled_up.difference_update(keys)
        self.samples_ended.add(len(self.ended))
        self.ended.append(frozenset())

    def copy(self) -> dict[str, Any]:
        """All that is committed."""
        return {name: deepcopy(getattr(self, name)) for name in COMMITTED}

    def go_back(self, copy: dict[str, Any]) -> None:
        """Put an older copy in its place, which ends a life; numbers are given once more."""
        vars(self).update(deepcopy(copy))
        self.ended.append(None)

    def end(self, remembers: bool = False) -> End:
        """Tells the life in which it was made."""
        return End(str(self._known_lives), UUID(int=0), remembers)

    async def affirm(self, end: End) -> None:
        """See `Database`."""
        fault = await self._meet()
        self._refuse_another_life(end)
        self.affirmed += 1
        self._fail_after_commit(fault)

    def _refuse_another_life(self, end: End | None) -> None:
        if end is None or int(end.reliance) == len(self.ended):
            return
        assert self.cache is not None
        for number, ended in enumerate(self.ended[self._known_lives :], self._known_lives):
            if ended is None:
                self.cache.clear()
            else:
                self.cache.forget(ended)
            if number in self.samples_ended:
                self.cache.stamps.clear()
        self._known_lives = len(self.ended)
        raise LifeEnded("what was remembered was removed")

    async def count_series(self, tenant_id: TenantId, most: int) -> int:
        """All of them are of one tenant."""
        del tenant_id
        await self._meet()
        return min(most, len(self.ids))

    async def labels_of(self, series_ids: Collection[SeriesId]) -> dict[SeriesId, Labels]:
        """Nobody remembers them."""
        await self._meet()
        return {}

    async def append_samples(
        self,
        target: str,
        table: str,
        payloads: Sequence[bytes],
        touched: Touched,
        sent: Callable[[], None] | None,
        end: End | None = None,
        doubtful: Sequence[bytes] = (),
        sought: Sought | None = None,
    ) -> Stored | None:
        """All rows, if all of them are new; but for the doubtful ones, of which those that are."""
        del table, sought
        if sent is not None:
            sent()
        fault = await self._meet()
        batches = [_rows(target, payload) for payload in payloads]
        staged = [_rows(target, payload) for payload in doubtful]
        self._refuse([*batches, *staged])
        if any(key in self.rows for batch in batches for key in batch):
            return None
        self._refuse_another_life(end)
        for batch in batches:
            self.rows |= batch
        counts = [self._store(batch) for batch in staged]
        self._mark(touched)
        self._fail_after_commit(fault)
        return Stored(counts, end is not None and end.remembers)

    async def copy_to_staging(
        self,
        store: str,
        payloads: Sequence[bytes],
        expect_duplicates: bool,
        sent: Callable[[], None] | None,
        end: End | None = None,
        touched: Touched | None = None,
    ) -> Stored:
        """The rows that are new."""
        del expect_duplicates
        if sent is not None:
            sent()
        fault = await self._meet()
        batches = [_rows(store, payload) for payload in payloads]
        self._refuse(batches)
        self._refuse_another_life(end)
        counts = [self._store(batch) for batch in batches]
        if touched is None:
            keys = [key for batch in batches for key in batch]
            metrics = [self.metric_of[SeriesId(key.series_id)] for key in keys]
            self.marks.update(zip(metrics, map(minute_of, keys), strict=True))
        elif any(counts):
            self._mark(touched)
        self._fail_after_commit(fault)
        return Stored(counts, end is not None and end.remembers)

    async def late_state(self, target: str, series_ids: Int64s) -> LateState:
        """See `Database`."""
        del target
        await self._meet()
        if not self.metric_of.keys() >= set(series_ids.tolist()):
            self._refuse_another_life(self.end())
            raise LifeEnded("series were removed that late samples are of")
        metric_ids = [self.metric_of[SeriesId(each)] for each in series_ids.tolist()]
        metric_ids = [self.metric_of[SeriesId(each)] for each in series_ids.tolist()]
        return LateState(self.taken, metric_ids, 0)

    def _mark(self, touched: Touched) -> None:
        """As `internal.mark_late` does."""
        self.marks.update((ALL_METRICS, ms // MINUTE_MS) for ms in touched.minutes_ms)
        if touched.late is not None:
            columns = [touched.late.new]
            if touched.late.taken != self.taken:
                columns.append(touched.late.standing)
            self.marks.update(
                (metric, minute // 60 * 60 + bit)
                for each in columns
                for metric, minute, bits in zip(*each, strict=True)
                for bit in range(60)
                if bits >> bit & 1
            )

    def roll_up(self) -> None:
        """What the worker does: marked minutes are read, and their marks are gone."""
        self.rolled_up &= self.rows.keys()
        self.rolled_up.update(key for key in self.rows if self.is_marked(key))
        if self.marks:
            self.marks.clear()
            self.taken += 1

    def is_marked(self, key: Sample) -> bool:
        """Whether the worker will read it."""
        metric, minute = self.metric_of[SeriesId(key.series_id)], minute_of(key)
        return (metric, minute) in self.marks or (ALL_METRICS, minute) in self.marks

    def _store(self, batch: dict[Sample, float]) -> int:
        """How many of these were not there."""
        before = len(self.rows)
        self.rows = batch | self.rows
        return len(self.rows) - before

    async def ready(self, is_doubtful: bool = False) -> bool:
        """Whether calls that nothing is planned for succeed."""
        del is_doubtful
        return self.mood is Fault.NONE and not self.hanging

    @property
    def calls_under_way(self) -> int:
        """How many calls hang."""
        return len(self._gates)

    def release(self) -> None:
        """Let hanging calls go on."""
        gates, self._gates = self._gates, []
        for gate in gates:
            if not gate.done():
                gate.set_result(None)

    async def _meet(self) -> Fault:
        await asyncio.sleep(0)
        if self.hanging:
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._gates.append(gate)
            await gate
        fault = self.faults.pop(0) if self.faults else self.mood
        match fault:
            case Fault.AWAY:
                raise ConnectionRefusedError("nobody there")
            case Fault.CUT:
                raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle")
            case Fault.DEADLOCK:
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            case Fault.DISK_FULL:
                raise asyncpg.DiskFullError("could not extend file: No space left on device")
            case Fault.TIMEOUT:
                raise TimeoutError
            case Fault.DEFECT:
                raise RuntimeError("a defect")
        return fault

    def _refuse(self, batches: Sequence[dict[Sample, float]]) -> None:
        if sum(map(len, batches)) > self.most_rows:
            raise asyncpg.QueryCanceledError("canceling statement due to statement timeout")
        if any(value == POISON for batch in batches for value in batch.values()):
            raise asyncpg.CheckViolationError("violates check constraint")

    def _fail_after_commit(self, fault: Fault) -> None:
        if fault is Fault.LOST:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle")


class FakeEngine:
    """Takes samples of any time, at once."""

    name = "fake"

    def __init__(self) -> None:
        self.horizons = Horizons(0)

    async def prepare(self, pool: Pool, store: str, oldest_ms: int, newest_ms: int) -> None:
        """See `Engine`."""
        await asyncio.sleep(0)

    def straight_into(self, target: str, oldest_ms: int, newest_ms: int) -> Straight | None:
        """See `Engine`."""
        return Straight("sample")

    def forget(self, store: str) -> None:
        """See `Engine`."""

    async def work(self, pool: Pool) -> int:
        """See `Engine`."""
        return 0

    async def refresh(
        self, connection: AnyConnection, start: datetime, end: datetime, progress: Progress
    ) -> None:
        """See `Engine`."""


def _rows(target: str, payload: bytes) -> dict[Sample, float]:
    """What a binary COPY stream without exact values holds."""
    assert payload.startswith(HEADER)
    assert payload.endswith(TRAILER)
    block = np.frombuffer(payload[len(HEADER) : -len(TRAILER)], ROW)
    times = block["time"] // 1000 + POSTGRES_EPOCH_MS
    values = block["value_bits"].astype(np.int64).view(np.float64)
    keys = zip(block["series_id"].tolist(), times.tolist(), strict=True)
    found = {
        Sample(target, series_id, timestamp_ms): value
        for (series_id, timestamp_ms), value in zip(keys, values.tolist(), strict=True)
    }
    assert len(found) == len(block), "a batch holds a key twice"
    return found
