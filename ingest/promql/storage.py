"""How a query asks for samples. The engine never fetches: it says what it needs of every selector
before anything is read (`evaluate.Query.selections`), the caller fetches, all at once if it likes,
and hands the answers over (`Query.evaluate`).

A storage answers a `Selection` with `Samples`:

- series whose labels meet all matchers, equal label sets merged into one (at an equal time the
  first written wins), labels as dicts in the order of their names;
- samples with `from_ms <= time <= to_ms` in order of time, flat, with offsets;
- stale markers included, by their bits (`values.STALE`), those of histograms as floats;
- native histograms in a block of rows beside them (`histograms.Histograms`), their hints as
  `Samples.with_hints` derives them from a series that begins one sample before the span;
- start timestamps where they are known, if the query wants them.

It may leave out what hints say is not needed: with `newest` only the newest sample of each series
in the span counts; with `reduction` stretches of samples that no edge of a window cuts may be
represented by one or two of them, of the number that `weights` say:

- `ends`: by its first and its last sample;
- `counters`: the same, where no sample in it is smaller than the one before it;
- `min`, `max`: by that value, at any of its times.

Stretches with a NaN or a histogram among them stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ingest.promql.histograms import GAUGE, NOT_RESET, RESET, UNKNOWN, Histograms, detect_resets
from ingest.promql.matchers import Matcher, matching
from ingest.promql.values import Bools, Floats, Ints, Labels, is_stale


@dataclass(frozen=True, slots=True)
class Selection:
    """What one selector needs. The span is closed at both ends; the rest are hints."""

    matchers: tuple[Matcher, ...]
    from_ms: int
    to_ms: int
    newest: bool = False  # an instant vector at one time: the newest sample is enough
    step_ms: int = 0
    range_ms: int = 0
    function: str = ""  # the function or aggregation around it
    grouping: tuple[str, ...] = ()
    by: bool = False
    counts_only: bool = False  # histograms: buckets are needed to see counter resets, no more
    reduction: str = ""  # all that windows are looked at for, see above

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for selections that one answer serves."""
        said = frozenset((matcher.name, matcher.op, matcher.value) for matcher in self.matchers)
        return (
            (said, self.from_ms, self.to_ms, self.newest, self.counts_only),
            (self.reduction, self.reduction and (self.step_ms, self.range_ms)),
        )

    @property
    def edges(self) -> Ints:
        """Of a range vector at all its steps: the times at which a window begins or ends. Windows
        hold what comes after their beginning, up to and including their end."""
        ends = np.arange(self.from_ms + self.range_ms - 1, self.to_ms + 1, max(self.step_ms, 1))
        return np.union1d(ends, ends - self.range_ms)

    def matches(self, labels: Labels) -> bool:
        return matching(list(self.matchers), labels)


@dataclass(slots=True)
class Samples:
    """S series with N samples in all: those of series s are offsets[s] <= i < offsets[s + 1]."""

    labels: list[Labels]
    offsets: Ints  # [S + 1]
    times: Ints  # [N], milliseconds
    values: Floats  # [N]
    histograms: Histograms | None = None
    rows: Ints | None = None  # [N]: the row in `histograms`, -1 for a float
    starts: Ints | None = None  # [N]: milliseconds, 0 where unknown
    weights: Ints | None = None  # [N]: how many samples it stands for; None: each for itself

    @classmethod
    def none(cls) -> Samples:
        return cls([], np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0))

    @property
    def cells(self) -> int:
        """What counts against a query's budget of samples."""
        return len(self.times) + (self.histograms.cells if self.histograms is not None else 0)

    def take(self, series: Sequence[int]) -> Samples:
        """Some series, in that order."""
        spans = [np.arange(self.offsets[s], self.offsets[s + 1]) for s in series]
        at = np.concatenate(spans) if spans else np.zeros(0, np.int64)
        return Samples(
            [self.labels[s] for s in series],
            np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64),
            self.times[at],
            self.values[at],
            self.histograms,
            None if self.rows is None else self.rows[at],
            None if self.starts is None else self.starts[at],
            None if self.weights is None else self.weights[at],
        )

    def only(self, mask: Bools) -> Samples:
        """Some of the samples [N]."""
        before = np.concatenate([[0], np.cumsum(mask)])
        return Samples(
            self.labels,
            before[self.offsets],
            self.times[mask],
            self.values[mask],
            self.histograms,
            None if self.rows is None else self.rows[mask],
            None if self.starts is None else self.starts[mask],
            None if self.weights is None else self.weights[mask],
        )

    def cut(self, selection: Selection) -> Samples:
        """What a selection needs of whole series, without series that have nothing for it."""
        inside = (self.times >= selection.from_ms) & (self.times <= selection.to_ms)
        found = self.only(inside)
        if selection.newest:
            last = np.zeros(len(found.times), bool)
            ends = found.offsets[1:][np.diff(found.offsets) > 0]
            last[ends - 1] = True
            found = found.only(last)
        some = np.flatnonzero(np.diff(found.offsets) > 0)
        return found if len(some) == len(found.labels) else found.take([int(at) for at in some])

    def with_hints(self, counts_only: bool = False) -> Samples:
        """Histograms that follow one of their own kind without a reset say so.

        Prometheus' chunks do: the first of a chunk is unknown, and a reset starts a new chunk. With
        `counts_only` a reset is said as well, since the buckets are then thrown away. A storage
        does it before it cuts series to a span, since the first sample in it has one before it.
        """
        block = self.histograms
        if block is None or self.rows is None or not len(block):
            return self
        pairs = (self.rows[1:] >= 0) & (self.rows[:-1] >= 0)
        pairs[self.offsets[1:-1][self.offsets[1:-1] < len(self.rows)] - 1] = False
        at = np.flatnonzero(pairs) + 1
        hint = block.hint.copy()
        hint[self.rows[self.rows >= 0]] = np.where(
            hint[self.rows[self.rows >= 0]] == GAUGE, GAUGE, UNKNOWN
        )
        current, previous = block.take(self.rows[at]), block.take(self.rows[at - 1])
        counters = (current.hint != GAUGE) & (previous.hint != GAUGE)
        resets = detect_resets(current.with_hint(UNKNOWN), previous) | (current.hint == RESET)
        follows = (
            ~resets
            & (current.schema == previous.schema)
            & (current.zero_threshold == previous.zero_threshold)
            & (current.bounds_of == previous.bounds_of)
        )
        hint[self.rows[at[counters & follows]]] = NOT_RESET
        if counts_only:
            hint[self.rows[at[counters & ~follows]]] = RESET
        return replace(self, histograms=replace(block, hint=hint))


class Storage(Protocol):
    """Something that answers at once; others may fetch as they like and use the same shapes."""

    def select(self, selection: Selection) -> Samples:
        """The samples that a selector needs."""
        ...


def ended(samples: Samples) -> Samples:
    """Without stale markers."""
    live = ~is_stale(samples.values)
    if samples.rows is not None:
        live |= samples.rows >= 0
    return samples if live.all() else samples.only(live)
