"""Which marks of late samples stand: what is marked need not be marked again by the next batch.

Rollups are told of which metrics and minutes late samples are, in the transaction that stores them
(`sql/engines/postgres/rollups/marks.sql`). To look up the metric of each series costs the database
a third of a row, and the mark as much as a row; so both are remembered here, of series that are
late. Whether marks of earlier transactions still stand is asked as one ends, by the number that the
database gave when they did.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from ingest.model import Int64s, SeriesId

MINUTE_MS, DAY_MS = 60_000, 86_400_000
YOUNG_SECONDS = 1.0
"""How old what is known may be. Where marks were taken since, all are made again: it only costs."""
MOST_STANDING = 100_000
WORTH = 2
"""Late rows for each new minute, at least, if marks are remembered: a backfill comes to it once."""
FEWEST = 1024
_NOBODY, _UNKNOWN = -1, -1
_MINUTE_BITS = 32
_MINUTE = (1 << _MINUTE_BITS) - 1


class LateState(NamedTuple):
    """What the database says of a target.

    Attributes:
        taken: how often marks were taken away; None: none are needed.
        metric_ids: of the series that were asked about, if metrics are marked.
        hours_before: of samples before this day (since 1970) the series are marked, too; None:
            nothing at all has to be.
    """

    taken: int | None
    metric_ids: Sequence[int]
    hours_before: int | None


class MarkColumns(NamedTuple):
    """Marks, a metric and hour each: the newest minute since 1970, all of its hour as bits."""

    metric_ids: list[int]
    minutes: list[int]
    bits: list[int]


class Late(NamedTuple):
    """What has to be marked of the late samples of a transaction.

    Attributes:
        taken: how often marks had been taken away when those that stand did.
        new, standing: marks that are missing; and those that are there unless they were taken.
        from_day: days (since 1970) from this on have no hours of series, as far as is known.
        series_ids, days: days before it, parallel lists.
        keys, memory: what is known once the transaction is committed, and where.
    """

    taken: int | None
    new: MarkColumns
    standing: MarkColumns
    from_day: int
    series_ids: list[int]
    days: list[int]
    keys: list[int]
    memory: set[int]

    def committed(self) -> None:
        """It is, and so is a mark of the writer's that came with it. What was forgotten meanwhile
        stays so: that was another set."""
        if len(self.memory) + len(self.keys) > MOST_STANDING:
            self.memory.clear()
        self.memory.update(self.keys)


class Marks:
    """Metrics of series, and marks that stand, for one life of the data.

    A slot is the lower bits of a series id; of series with the same one the later are in a dict.

    Args:
        most: series, rounded up to a power of two.
    """

    def __init__(self, most: int) -> None:
        self._most = 1 << (most - 1).bit_length()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._states: dict[str, LateState] = {}
        self._known_at: dict[str, float] = {}
        self._standing: set[int] = set()
        self._taken: int | None = None
        self._make(0)

    def forget(self, series_ids: Collection[SeriesId]) -> None:
        """These series are removed. (Their metrics may be: no mark of them is made.)"""
        for series_id in series_ids if len(self._owner) else ():
            self._others.pop(series_id, None)
            slot = series_id & (len(self._owner) - 1)
            if self._owner[slot] == series_id:
                self._owner[slot] = _NOBODY

    @property
    def approximate_bytes(self) -> int:
        """Memory that they take."""
        entries = len(self._others) + len(self._standing)
        return self._owner.nbytes + self._metric.nbytes + 100 * entries

    def asks(self, target: str, series_ids: Int64s, now: float) -> Int64s | None:
        """Of which series the metric has to be asked, maybe of none; None: nothing has.

        Args:
            series_ids: of late samples.
            now: in seconds.
        """
        is_young = now < self._known_at.get(target, -np.inf) + YOUNG_SECONDS
        if is_young and self._states[target].taken is None:
            return None
        if not is_young and len(self._others) > MOST_STANDING:
            self._others.clear()
        unknown = np.unique(series_ids[self._metrics_of(series_ids) == _UNKNOWN])
        return None if is_young and not len(unknown) else unknown

    def learn(self, target: str, series_ids: Int64s, state: LateState, now: float) -> None:
        """What the database said of a target, and of these series."""
        self._states[target], self._known_at[target] = state, now
        if state.taken is None:
            return
        if state.taken != self._taken:
            self._taken, self._standing = state.taken, set()
        largest = int(series_ids.max(initial=0))
        size = min(self._most, max(FEWEST, 1 << largest.bit_length()))
        if size > len(self._owner):  # what was known is learnt again, once in so many series
            self._make(size)
        for series_id, metric_id in zip(series_ids.tolist(), state.metric_ids, strict=True):
            slot = series_id & (len(self._owner) - 1)
            if self._owner[slot] in (_NOBODY, series_id):
                self._owner[slot], self._metric[slot] = series_id, metric_id
            else:
                self._others[series_id] = metric_id

    def of(self, target: str, series_ids: Int64s, timestamp_ms: Int64s) -> Late | None:
        """What late samples have to mark, once `asks` has no more to ask; None: nothing.

        Args:
            series_ids, timestamp_ms: parallel; not empty; those of a series come together.
        """
        state = self._states[target]
        if state.hours_before is None:
            return None
        keys, stands = np.empty(0, np.int64), np.empty(0, bool)
        if state.taken is not None:
            metrics = self._metrics_of(series_ids)
            assert (metrics != _UNKNOWN).all(), "they were asked for"
            keys = np.unique(metrics << _MINUTE_BITS | timestamp_ms // MINUTE_MS)
            stands = np.fromiter(map(self._standing.__contains__, keys.tolist()), bool, len(keys))
        new, days = keys[~stands], timestamp_ms // DAY_MS
        minutes = len(np.unique(new & _MINUTE))
        first_day = int(days.min())
        is_listed = days < state.hours_before
        is_listed[1:] &= (np.diff(series_ids) != 0) | (np.diff(days) != 0)
        return Late(
            self._taken,
            _columns(new),
            _columns(keys[stands]),
            max(state.hours_before, first_day),
            series_ids[is_listed].tolist(),
            days[is_listed].tolist(),
            new.tolist() if WORTH * minutes <= len(series_ids) else [],
            self._standing,
        )

    def _metrics_of(self, series_ids: Int64s) -> Int64s:
        if not len(self._owner):
            return np.full(len(series_ids), _UNKNOWN, np.int64)
        slots = series_ids & (len(self._owner) - 1)
        metrics = np.where(self._owner[slots] == series_ids, self._metric[slots], _UNKNOWN)
        for at in np.flatnonzero(metrics == _UNKNOWN).tolist() if self._others else ():
            metrics[at] = self._others.get(int(series_ids[at]), _UNKNOWN)
        return metrics

    def _make(self, size: int) -> None:
        self._owner = np.full(size, _NOBODY, np.int64)
        self._metric = np.zeros(size, np.int64)
        self._others: dict[int, int] = {}


def _columns(keys: Int64s) -> MarkColumns:
    """Of keys in order, which so are by metric, then by hour."""
    if not len(keys):
        return MarkColumns([], [], [])
    minutes = keys & _MINUTE
    hours = keys - minutes + minutes // 60  # with the metric
    first = np.append(True, np.diff(hours) != 0)
    last = np.append(first[1:], True)
    bits = np.bitwise_or.reduceat(np.left_shift(1, minutes % 60), np.flatnonzero(first))
    metric_ids = keys[last] >> _MINUTE_BITS
    return MarkColumns(metric_ids.tolist(), minutes[last].tolist(), bits.tolist())
