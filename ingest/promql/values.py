"""What expressions evaluate to. T is the number of steps, S of series.

Labels of a series are a dict in the order of names, never changed once made, so that
`tuple(labels.items())` is its identity.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ingest.errors import PromqlFailure
from ingest.promql.histograms import Histograms, joined_rows

Labels = dict[str, str]
Key = tuple[tuple[str, str], ...]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NAME = "__name__"
METADATA = frozenset({NAME, "__type__", "__unit__"})
"""Labels that say what a metric is; a calculation makes something else of it and drops them."""

STALE_BITS = 0x7FF0000000000002
STALE = np.array([STALE_BITS], np.int64).view(np.float64)[0]
"""The value that ends a series: a NaN known by its bits alone."""


def is_stale(values: Floats) -> Bools:
    return np.ascontiguousarray(values).view(np.int64) == STALE_BITS


def key_of(labels: Labels) -> Key:
    return tuple(labels.items())


def without(labels: Labels, names: Collection[str]) -> Labels:
    return {name: value for name, value in labels.items() if name not in names}


def only(labels: Labels, names: Collection[str]) -> Labels:
    return {name: value for name, value in labels.items() if name in names}


def with_label(labels: Labels, name: str, value: str) -> Labels:
    """With a label set, or taken away by the empty value."""
    changed = without(labels, (name,))
    if value:
        changed[name] = value
        return dict(sorted(changed.items()))
    return changed


@dataclass(slots=True)
class Scalar:
    values: Floats  # [T]


@dataclass(slots=True)
class String:
    value: str


@dataclass(slots=True)
class Vector:
    """An instant vector at every step.

    Where `rows[s, t]` is not negative the sample is that row of `histograms`, else the float in
    `values`; `present` says whether there is one at all (NaN is a value). `drops[s]`: the metadata
    labels go at the end (delayed name removal).
    """

    labels: list[Labels]
    values: Floats
    present: Bools
    drops: Bools
    histograms: Histograms | None = None
    rows: Ints | None = None
    is_ordered: bool = False  # the order of series means something (sort, topk)

    @property
    def floats(self) -> Bools:
        """Where a float is."""
        return self.present if self.rows is None else self.present & (self.rows < 0)

    @property
    def is_histogram(self) -> Bools:
        if self.rows is None:
            return np.zeros(self.present.shape, bool)
        return self.present & (self.rows >= 0)

    def name(self, series: int) -> str:
        return self.labels[series].get(NAME, "")

    def take(self, series: npt.NDArray[np.int64] | Bools | list[int]) -> Vector:
        """Some series, in that order."""
        at = np.arange(len(self.labels))[series] if len(self.labels) else np.zeros(0, np.int64)
        return replace(
            self,
            labels=[self.labels[s] for s in at],
            values=self.values[at],
            present=self.present[at],
            drops=self.drops[at],
            rows=None if self.rows is None else self.rows[at],
        )

    def filtered(self, keep: Bools) -> Vector:
        """With the samples of a mask [S, T], without series that have none left."""
        present = self.present & keep
        return replace(self, present=present).without_empty()

    def without_empty(self) -> Vector:
        some: Bools = np.any(self.present, axis=1)
        return self if some.all() else self.take(some)

    def renamed(self, labels: list[Labels]) -> Vector:
        return replace(self, labels=labels)


def empty(steps: int) -> Vector:
    return Vector([], np.zeros((0, steps)), np.zeros((0, steps), bool), np.zeros(0, bool))


def stacked(vectors: Iterable[Vector]) -> Vector:
    """The series of several vectors below one another."""
    parts = list(vectors)
    if len(parts) == 1:
        return parts[0]
    block, moved = joined_rows(
        (part.histograms, part.rows if part.rows is not None else np.full(part.values.shape, -1))
        for part in parts
    )
    return Vector(
        [labels for part in parts for labels in part.labels],
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([part.drops for part in parts]),
        block,
        np.concatenate(moved) if block is not None else None,
    )


SAME_LABELS = "vector cannot contain metrics with the same labelset"


def has_same_labels(labels: list[Labels]) -> bool:
    return len({key_of(of) for of in labels}) < len(labels)


def merged(vector: Vector) -> Vector:
    """Series of equal labels made one, if no step has a sample of both.

    Raises:
        PromqlFailure: two at one step.
    """
    places: dict[Key, int] = {}
    first = np.array([places.setdefault(key_of(of), at) for at, of in enumerate(vector.labels)])
    later = np.flatnonzero(first != np.arange(len(first)))
    if not len(later):
        return vector
    values, present, drops = vector.values.copy(), vector.present.copy(), vector.drops.copy()
    begins = np.argmax(vector.present, axis=1)  # a name goes if that of the earliest sample does
    rows = None if vector.rows is None else vector.rows.copy()
    for series in later:
        target, here = first[series], vector.present[series]
        if (present[target] & here).any():
            raise PromqlFailure(SAME_LABELS)
        values[target] = np.where(here, values[series], values[target])
        if rows is not None:
            rows[target] = np.where(here, rows[series], rows[target])
        present[target] |= here
        if here.any() and begins[series] < begins[target]:
            begins[target], drops[target] = begins[series], vector.drops[series]
    kept = np.ones(len(first), bool)
    kept[later] = False
    found = replace(vector, values=values, present=present, rows=rows, drops=drops)
    return found.take(kept)


@dataclass(slots=True)
class Windows:
    """A range vector at every step: of each series the samples `low[s, t] <= i < high[s, t]` of
    flat arrays, those of one series beside one another and in order of time. Stale markers are not
    in them."""

    labels: list[Labels]
    drops: Bools
    offsets: Ints  # [S + 1]: where each series lies in the flat arrays
    times: Ints  # [N], milliseconds
    values: Floats  # [N]
    low: Ints  # [S, T]
    high: Ints  # [S, T]
    begin: Ints  # [T]: windows are (begin, end]
    end: Ints  # [T]
    range_ms: int
    histograms: Histograms | None = None
    rows: Ints | None = None  # [N]: the row of a histogram, -1 for a float
    starts: Ints | None = None  # [N]: start timestamps, 0 for none
    weights: Ints | None = None  # [N]: how many samples it stands for, see `Samples`

    @property
    def counts(self) -> Ints:
        return self.high - self.low

    @property
    def sizes(self) -> Ints:
        """How many samples windows have [S, T], those counted that are represented by others."""
        if self.weights is None:
            return self.counts
        before = np.concatenate([[0], np.cumsum(self.weights)])
        sizes: Ints = before[self.high] - before[self.low]
        return sizes

    def name(self, series: int) -> str:
        return self.labels[series].get(NAME, "")

    def only(self, mask: Bools) -> Windows:
        """The same windows over some of the samples [N]."""
        before = np.concatenate([[0], np.cumsum(mask)])
        return replace(
            self,
            offsets=before[self.offsets],
            times=self.times[mask],
            values=self.values[mask],
            low=before[self.low],
            high=before[self.high],
            rows=None if self.rows is None else self.rows[mask],
            starts=None if self.starts is None else self.starts[mask],
            weights=None if self.weights is None else self.weights[mask],
        )

    def part(self, first: int, last: int) -> Windows:
        """The windows of some neighbouring series, with their samples alone."""
        start, end = int(self.offsets[first]), int(self.offsets[last])
        return replace(
            self,
            labels=self.labels[first:last],
            drops=self.drops[first:last],
            offsets=self.offsets[first : last + 1] - start,
            times=self.times[start:end],
            values=self.values[start:end],
            low=self.low[first:last] - start,
            high=self.high[first:last] - start,
            rows=None if self.rows is None else self.rows[start:end],
            starts=None if self.starts is None else self.starts[start:end],
            weights=None if self.weights is None else self.weights[start:end],
        )

    def place(self, bounds: Ints, side: Literal["left", "right"]) -> Ints:
        """Where times [T] would stand among the samples of each series, as flat indexes [S, T]."""
        found = np.empty(self.low.shape, np.int64)
        for series, first in enumerate(self.offsets[:-1]):
            times = self.times[first : self.offsets[series + 1]]
            found[series] = first + np.searchsorted(times, bounds, side)
        return found

    def split(self) -> tuple[Windows, Windows]:
        """Floats alone and histograms alone."""
        if self.rows is None:
            return self, self.only(np.zeros(len(self.times), bool))
        return self.only(self.rows < 0), self.only(self.rows >= 0)
