"""Which samples are known to be stored: the last timestamps of each series, in arrays.

A slot is the lower bits of a series id. Ids are dense, so series that are alive at the same time
seldom share one; where they do, the one that came last has it, and the other one is only asked
about in the database, as before. Nothing is ever taken for stored that is not.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from ingest.model import Int64s, Rows, SeriesId

if TYPE_CHECKING:
    import numpy.typing as npt

Mask: TypeAlias = "npt.NDArray[np.bool_]"

KEPT = 4
"""Timestamps of a series: the second sender of a pair may be so many samples behind."""
NEVER = np.iinfo(np.int64).min
NOBODY = -1
FEWEST = 1024


class Look(NamedTuple):
    """What is known of rows, as masks of their length.

    Attributes:
        stored: a sample of this series and time is.
        doubtful: one not later than the last that was sent of its series, and not known to be
            stored: it may be.
    """

    stored: Mask
    doubtful: Mask


class Stamps:
    """Of each series the last timestamp that was sent and the last few that are stored: 48 bytes.

    Rows are those of one batch: sorted by series and time, no key twice.

    Args:
        most: series, rounded up to a power of two.

    Attributes:
        generation: how often something was forgotten because it no longer holds.
    """

    def __init__(self, most: int) -> None:
        self.generation = 0
        self._most = 1 << (most - 1).bit_length()
        self._make(0)

    @property
    def approximate_bytes(self) -> int:
        """Memory that they take."""
        return self._owner.nbytes + self._sent.nbytes + self._stored.nbytes

    def look(self, rows: Rows) -> Look:
        """What is known of each row."""
        stored, doubtful = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        slots = self._slots(rows.series_id)
        if slots is None:
            return Look(stored, doubtful)
        old = (self._owner[slots] == rows.series_id) & (rows.timestamp_ms <= self._sent[slots])
        at = np.flatnonzero(old)
        if len(at):
            stored[at] = _among(self._stored.take(slots[at], axis=0), rows.timestamp_ms[at])
            doubtful[at] = ~stored[at]
        return Look(stored, doubtful)

    def send(self, rows: Rows) -> None:
        """They go to the database now; what comes of it is to be seen."""
        if not len(rows):
            return
        self._grow(int(rows.series_id[-1]))
        last = np.append(rows.series_id[1:] != rows.series_id[:-1], True)
        series_id, timestamp_ms = rows.series_id[last], rows.timestamp_ms[last]
        slots = series_id & (len(self._owner) - 1)
        is_other = self._owner[slots] != series_id
        sent = np.where(is_other, NEVER, self._sent[slots])
        self._stored[slots[is_other]] = NEVER
        self._owner[slots] = series_id  # of two with one slot both lines keep the same, the last
        self._sent[slots] = np.maximum(sent, timestamp_ms)

    def store(self, rows: Rows) -> None:
        """They are committed, and so is a mark that came with them, or after."""
        if not len(rows):
            return
        edges = np.append(np.flatnonzero(rows.series_id[1:] != rows.series_id[:-1]), len(rows) - 1)
        counts = np.diff(edges, prepend=-1)
        for back in reversed(range(min(KEPT, int(counts.max())))):  # the newest of each comes last
            at = edges[counts > back] - back
            self._push(rows.series_id[at], rows.timestamp_ms[at])

    def _push(self, series_id: Int64s, timestamp_ms: Int64s) -> None:
        """One timestamp of each series, in place of that which came first."""
        slots = self._slots(series_id)
        assert slots is not None, "they were sent before"
        known = self._stored.take(slots, axis=0)
        new = (self._owner[slots] == series_id) & ~_among(known, timestamp_ms)
        known[:, 1:] = known[:, :-1]
        known[:, 0] = timestamp_ms
        self._stored[slots[new]] = known[new]

    def forget(self, series_ids: Collection[SeriesId]) -> None:
        """These series are removed."""
        self.generation += 1
        gone = np.fromiter(series_ids, np.int64, len(series_ids))
        slots = self._slots(gone)
        if slots is not None:
            self._owner[slots[self._owner[slots] == gone]] = NOBODY

    def clear(self) -> None:
        """Forget everything: samples may have been taken away."""
        self.generation += 1
        self._make(0)

    def _slots(self, series_id: Int64s) -> Int64s | None:
        """None where nothing is remembered."""
        return series_id & (len(self._owner) - 1) if len(self._owner) else None

    def _grow(self, largest: int) -> None:
        """Have a slot for each id up to this one, as far as there may be so many."""
        size = min(self._most, max(FEWEST, 1 << largest.bit_length()))
        if size <= len(self._owner):
            return
        owner, sent, stored = self._owner, self._sent, self._stored
        self._make(size)
        kept = np.flatnonzero(owner != NOBODY)
        slots = owner[kept] & (size - 1)
        self._owner[slots], self._sent[slots] = owner[kept], sent[kept]
        self._stored[slots] = stored[kept]

    def _make(self, size: int) -> None:
        self._owner = np.full(size, NOBODY, np.int64)
        self._sent = np.full(size, NEVER, np.int64)
        self._stored = np.full((size, KEPT), NEVER, np.int64)  # those of one series in one place


def _among(known: Int64s, timestamp_ms: Int64s) -> Mask:
    """Whether each timestamp is in its row of known ones."""
    found: Mask = known[:, 0] == timestamp_ms
    for column in range(1, KEPT):  # any(axis=1) takes as long as all of it
        found |= known[:, column] == timestamp_ms
    return found
