"""Native histograms as matrices: a row a histogram, a column a bucket. No object a sample.

`Histograms` holds n rows. Buckets are two matrices, positive and negative, `counts[n, B]` beside
the bucket indexes `indexes[B]` of their columns; what an index means is said by the `schema` of the
row (-4 to 8: powers of 2^(2^-schema); -53: custom bounds, where the index is the place in them). So
rows of different schemas can stand in one matrix, and arithmetic first brings two rows to what they
have in common: the coarser schema, the wider zero bucket, the bounds that both know. A bucket that
a histogram does not have is zero. Semantics are Prometheus' (model/histogram/float_histogram.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.promql.gotext import go_g

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CUSTOM = -53
UNKNOWN, RESET, NOT_RESET, GAUGE = range(4)
"""What a histogram says about a counter reset between it and the one before."""

_LARGEST = np.finfo(np.float64).max


def kahan(value: Floats, total: Floats, rest: Floats) -> tuple[Floats, Floats]:
    """One step of Neumaier's compensated sum: the new total and what it lacks. Any shapes."""
    with np.errstate(invalid="ignore", over="ignore"):
        new = total + value
        lost = np.where(
            np.abs(total) >= np.abs(value), (total - new) + value, (value - new) + total
        )
    return new, np.where(np.isinf(new), 0.0, rest + lost)


def upper_bounds(indexes: Ints, schema: int) -> Floats:
    """Upper bounds of exponential buckets; the last one before infinity is the largest float."""
    if schema < 0:
        exponents = np.clip(indexes << -schema, -5000, 5000)
        with np.errstate(over="ignore"):
            return np.where(exponents == 1024, _LARGEST, np.ldexp(1.0, exponents))
    parts = 1 << schema
    fractions = 0.5 * np.exp2((indexes & (parts - 1)) / parts)
    exponents = np.clip(((indexes) >> schema) + 1, -5000, 5000)
    with np.errstate(over="ignore"):
        bounds = np.ldexp(fractions, exponents)
    return np.where((fractions == 0.5) & (exponents == 1025), _LARGEST, bounds)


@dataclass(slots=True)
class Side:
    """The buckets of one sign: `indexes` ascending [B], `counts` [n, B]."""

    indexes: Ints
    counts: Floats

    def take(self, rows: Any) -> Side:
        return Side(self.indexes, self.counts[rows])

    def on(self, indexes: Ints) -> Floats:
        """Counts in the columns of `indexes`, which holds all of ours."""
        if len(indexes) == len(self.indexes):
            return self.counts
        counts = np.zeros((len(self.counts), len(indexes)))
        counts[:, np.searchsorted(indexes, self.indexes)] = self.counts
        return counts

    def coarser(self, shifts: Ints) -> Side:
        """Each row `shifts[row]` schemas coarser: neighbours are added up."""
        if not len(self.indexes) or not shifts.any():
            return self
        pieces = []
        for shift in np.unique(shifts):
            rows = np.flatnonzero(shifts == shift)
            columns, starts = np.unique(((self.indexes - 1) >> shift) + 1, return_index=True)
            pieces.append((rows, columns, np.add.reduceat(self.counts[rows], starts, axis=1)))
        indexes = np.unique(np.concatenate([columns for _, columns, _ in pieces]))
        counts = np.zeros((len(self.counts), len(indexes)))
        for rows, columns, sums in pieces:
            counts[np.ix_(rows, np.searchsorted(indexes, columns))] = sums
        return Side(indexes, counts)


def _no_buckets(rows: int) -> Side:
    return Side(np.zeros(0, np.int64), np.zeros((rows, 0)))


@dataclass(slots=True)
class Histograms:
    """n histograms; every array but the sides' has shape [n].

    `bounds_of` is the place of a row's custom upper bounds in `bounds` (without +Inf), else -1.
    """

    schema: Ints
    hint: Ints
    count: Floats
    sum: Floats
    zero_threshold: Floats
    zero_count: Floats
    positive: Side
    negative: Side
    bounds_of: Ints
    bounds: tuple[tuple[float, ...], ...]

    def __len__(self) -> int:
        return len(self.count)

    @classmethod
    def empty(cls, rows: int) -> Histograms:
        """Histograms of schema 0 without an observation."""
        whole, zero = np.zeros(rows, np.int64), np.zeros(rows)
        return cls(
            whole, whole.copy(), zero, zero.copy(), zero.copy(), zero.copy(), _no_buckets(rows),
            _no_buckets(rows), np.full(rows, -1), ()
        )  # fmt: skip

    @classmethod
    def build(cls, rows: Sequence[dict[str, Any]]) -> Histograms:
        """From mappings with any of schema, hint, count, sum, zero_threshold, zero_count,
        custom_bounds and `positive` and `negative`: {bucket index: count}."""
        found = cls.empty(len(rows))
        bounds: dict[tuple[float, ...], int] = {}
        for name in ("schema", "hint", "count", "sum", "zero_threshold", "zero_count"):
            getattr(found, name)[:] = [row.get(name, 0) for row in rows]
        for at, row in enumerate(rows):
            if row.get("schema") == CUSTOM:
                key = tuple(row.get("custom_bounds", ()))
                found.bounds_of[at] = bounds.setdefault(key, len(bounds))
        found.bounds = tuple(bounds)
        for sign in ("positive", "negative"):
            indexes = np.array(sorted({i for row in rows for i in row.get(sign, ())}), np.int64)
            counts = np.zeros((len(rows), len(indexes)))
            for at, row in enumerate(rows):
                for index, count in row.get(sign, {}).items():
                    counts[at, np.searchsorted(indexes, index)] = count
            setattr(found, sign, Side(indexes, counts))
        return found

    @classmethod
    def joined(cls, blocks: Sequence[Histograms]) -> Histograms:
        """The rows of all blocks, one after the other."""
        if len(blocks) == 1:
            return blocks[0]
        known: dict[tuple[float, ...], int] = {}
        bounds_of = []
        for block in blocks:
            places = np.array([known.setdefault(b, len(known)) for b in block.bounds] + [-1])
            bounds_of.append(places[block.bounds_of])
        arrays = {
            name: np.concatenate([getattr(block, name) for block in blocks])
            for name in ("schema", "hint", "count", "sum", "zero_threshold", "zero_count")
        }
        sides = []
        for sign in ("positive", "negative"):
            parts = [getattr(block, sign) for block in blocks]
            indexes = np.unique(np.concatenate([part.indexes for part in parts]))
            sides.append(Side(indexes, np.concatenate([part.on(indexes) for part in parts])))
        return cls(
            **arrays, positive=sides[0], negative=sides[1],
            bounds_of=np.concatenate(bounds_of), bounds=tuple(known),
        )  # fmt: skip

    def take(self, rows: Any) -> Histograms:
        """Rows by index or mask, as copies."""
        return Histograms(
            self.schema[rows], self.hint[rows], self.count[rows], self.sum[rows],
            self.zero_threshold[rows], self.zero_count[rows], self.positive.take(rows),
            self.negative.take(rows), self.bounds_of[rows], self.bounds,
        )  # fmt: skip

    @property
    def is_custom(self) -> Bools:
        return self.schema == CUSTOM

    @property
    def cells(self) -> int:
        """Floats held: what counts against a query's budget."""
        return len(self) * (4 + len(self.positive.indexes) + len(self.negative.indexes))

    def blank(self) -> Histograms:
        """The same layouts without an observation."""
        zero = np.zeros(len(self))
        return replace(
            self,
            count=zero,
            sum=zero.copy(),
            zero_count=zero.copy(),
            positive=Side(self.positive.indexes, np.zeros_like(self.positive.counts)),
            negative=Side(self.negative.indexes, np.zeros_like(self.negative.counts)),
        )

    def with_hint(self, hint: int | Ints) -> Histograms:
        return replace(self, hint=np.broadcast_to(np.asarray(hint), self.count.shape).copy())

    def put(self, mask: Bools, other: Histograms) -> Histograms:
        """Rows of `other` where the mask says so, ours elsewhere."""
        rows = np.arange(len(self)) + np.where(mask, len(self), 0)
        return Histograms.joined([self, other]).take(rows)

    def times(self, factor: Floats | float) -> Histograms:
        """Every count times `factor` [n]; below zero it becomes a gauge."""
        factors = np.broadcast_to(np.asarray(factor, float), self.count.shape)
        return self._scaled(np.multiply, factors, factors < 0)

    def over(self, divisor: Floats | float) -> Histograms:
        """Every count divided; a divisor of zero leaves no bucket but the zero bucket."""
        divisors = np.broadcast_to(np.asarray(divisor, float), self.count.shape)
        found = self._scaled(np.divide, divisors, divisors < 0)
        for side in (found.positive, found.negative):
            side.counts[divisors == 0] = 0.0
        return found

    def _scaled(self, operation: np.ufunc, numbers: Floats, is_gauge: Bools) -> Histograms:
        """Counts by a number each; a bucket that is not there stays away, also from NaN."""
        with np.errstate(all="ignore"):
            sides = [
                Side(
                    side.indexes,
                    np.where(side.counts == 0, 0.0, operation(side.counts, numbers[:, None])),
                )
                for side in (self.positive, self.negative)
            ]
            zero_count = operation(self.zero_count, numbers)
            return replace(
                self,
                count=operation(self.count, numbers),
                sum=operation(self.sum, numbers),
                zero_count=np.where(self.is_custom, 0.0, zero_count),
                positive=sides[0],
                negative=sides[1],
                hint=np.where(is_gauge, GAUGE, self.hint),
            )

    def coarser(self, schema: Ints) -> Histograms:
        """Rows of a finer schema than `schema` [n] reduced to it; custom ones stay."""
        shifts = np.where(self.is_custom, 0, np.maximum(self.schema - schema, 0))
        if not shifts.any():
            return self
        return replace(
            self,
            schema=self.schema - shifts,
            positive=self.positive.coarser(shifts),
            negative=self.negative.coarser(shifts),
        )

    def overflows(self) -> Bools:
        """Which rows hold an infinity."""
        with np.errstate(invalid="ignore"):
            return (
                np.isinf(self.count) | np.isinf(self.sum) | np.isinf(self.zero_count)
                | np.isinf(self.positive.counts).any(axis=1)
                | np.isinf(self.negative.counts).any(axis=1)
            )  # fmt: skip

    def layouts(self) -> Iterator[Ints]:
        """Rows grouped by what their columns mean: one schema, one set of custom bounds."""
        keys = self.schema * (len(self.bounds) + 1) + self.bounds_of
        for key in np.unique(keys):
            yield np.flatnonzero(keys == key)

    def edges(self, row: int, sign: str) -> tuple[Floats, Floats]:
        """Lower and upper bounds of one row's columns; negative ones mirrored below zero."""
        side: Side = getattr(self, sign)
        if self.bounds_of[row] >= 0:
            bounds = np.array([-np.inf, *self.bounds[self.bounds_of[row]], np.inf])
            # A histogram may claim more buckets than bounds; they are at infinity.
            at = np.clip(side.indexes, 0, len(bounds) - 2)
            return bounds[at], bounds[at + 1]
        schema = int(self.schema[row])
        upper = upper_bounds(side.indexes, schema)
        lower = upper_bounds(side.indexes - 1, schema)
        return (lower, upper) if sign == "positive" else (-upper, -lower)

    def ascending(self, rows: Ints) -> tuple[Floats, Floats, Floats]:
        """All buckets of rows of one layout from the lowest to the highest: counts, lower and upper
        bounds, each [rows, buckets]. Buckets beside the zero bucket end at its threshold; the
        column of the zero bucket is there even if it is empty, but for custom buckets."""
        first = int(rows[0])
        if self.bounds_of[first] >= 0:
            # Columns of other layouts are no buckets of this one.
            last = len(self.bounds[self.bounds_of[first]])
            own = (self.positive.indexes >= 0) & (self.positive.indexes <= last)
            counts = self.positive.counts[rows][:, own]
            edges = self.edges(first, "positive")
            lower, upper = (np.tile(of[own], (len(rows), 1)) for of in edges)
            if counts.shape[1]:
                return counts, lower, upper
            nothing = np.zeros((len(rows), 1))
            return nothing, nothing, nothing
        shape = (len(rows), 1)
        parts = [
            (
                self.negative.counts[rows][:, ::-1],
                *(e[::-1] for e in self.edges(first, "negative")),
            ),
            (self.zero_count[rows][:, None], None, None),
            (self.positive.counts[rows], *self.edges(first, "positive")),
        ]
        threshold = self.zero_threshold[rows][:, None]
        counts = np.concatenate([part for part, _, _ in parts], axis=1)
        lower = np.concatenate(
            [-threshold if low is None else np.tile(low, shape) for _, low, _ in parts], axis=1
        )
        upper = np.concatenate(
            [threshold if high is None else np.tile(high, shape) for _, _, high in parts], axis=1
        )
        lower = np.where((lower > 0) & (lower < threshold), threshold, lower)
        upper = np.where((upper < 0) & (upper > -threshold), -threshold, upper)
        return counts, lower, upper

    def buckets(self, row: int, *, as_text: bool = False) -> list[tuple[int, float, float, float]]:
        """Buckets that are not empty, as the HTTP API lists them: (boundary rule, lower, upper,
        count); 0 open at the left, 1 open at the right, 3 closed. The API leaves out a zero bucket
        whose count is negative or NaN, the text of a histogram does not."""
        found = []
        low, high = self.edges(row, "negative")
        for at in reversed(np.flatnonzero(self.negative.counts[row])):
            found.append((1, float(low[at]), float(high[at]), float(self.negative.counts[row, at])))
        threshold = float(self.zero_threshold[row])
        if self.zero_count[row] > 0 or (as_text and self.zero_count[row]):
            found.append((3, -threshold, threshold, float(self.zero_count[row])))
        low, high = self.edges(row, "positive")
        for at in np.flatnonzero(self.positive.counts[row]):
            # The first custom bucket holds its lower bound, minus infinity, too.
            rule = 3 if np.isneginf(low[at]) else 0
            found.append(
                (rule, float(low[at]), float(high[at]), float(self.positive.counts[row, at]))
            )
        return found

    def text(self, row: int) -> str:
        """`{count:4, sum:2, [-1,-0.5):1, …}`, the value of a label made by count_values."""
        left, right = {0: "(", 1: "[", 3: "["}, {0: "]", 1: ")", 3: "]"}
        shown = "".join(
            f", {left[rule]}{go_g(low)},{go_g(high)}{right[rule]}:{go_g(count)}"
            for rule, low, high, count in self.buckets(row, as_text=True)
        )
        head = f"{{count:{go_g(float(self.count[row]))}, sum:{go_g(float(self.sum[row]))}"
        return head + shown + "}"


@dataclass(slots=True)
class Outcome:
    """What became of n pairs: rows that cannot be combined (a mix of exponential and custom
    buckets) hold nothing of use; hints that contradict; custom bounds that had to be reconciled."""

    result: Histograms
    rest: Histograms | None
    incompatible: Bools
    collided: Bools
    reconciled: Bools


def combine(left: Histograms, right: Histograms, sign: float = 1.0) -> Outcome:
    """Row by row left + sign * right."""
    return _combine(left, right, sign, None)


def accumulate(total: Histograms, rest: Histograms | None, other: Histograms) -> Outcome:
    """Row by row total + other, compensated: `rest`, of the rows of `total`, is what it lacks."""
    return _combine(total, other, 1.0, rest or total.blank(), True)


def _combine(
    left: Histograms,
    right: Histograms,
    sign: float,
    rest: Histograms | None,
    compensated: bool = False,
) -> Outcome:
    incompatible = left.is_custom != right.is_custom
    hint, collided = _combined_hints(left.hint, right.hint)
    collided &= ~incompatible
    left, right, rest = _zero_buckets_matched(left, right, rest)
    schema = np.minimum(left.schema, right.schema)
    left, right = left.coarser(schema), right.coarser(schema)
    rest = rest.coarser(schema) if rest is not None else None
    right = _without_zero_bucket(right, left.zero_threshold)
    left, right, rest, reconciled = _bounds_matched(left, right, rest, incompatible)

    def total(a: Floats, b: Floats, c: Floats | None) -> tuple[Floats, Floats | None]:
        if c is None or not compensated:
            with np.errstate(invalid="ignore", over="ignore"):
                return a + sign * b, None
        return kahan(b, a, c)

    columns: dict[str, Any] = {}
    lacks: dict[str, Any] = {}
    for name in ("count", "sum", "zero_count"):
        third = getattr(rest, name) if rest is not None else None
        columns[name], lacks[name] = total(getattr(left, name), getattr(right, name), third)
    for name in ("positive", "negative"):
        one, two = getattr(left, name), getattr(right, name)
        three = getattr(rest, name) if rest is not None else None
        indexes = one.indexes
        if len(one.indexes) != len(two.indexes) or (one.indexes != two.indexes).any():
            indexes = np.union1d(one.indexes, two.indexes)
        if three is not None:
            indexes = np.union1d(indexes, three.indexes) if len(three.indexes) else indexes
        counts, lack = total(
            one.on(indexes), two.on(indexes), three.on(indexes) if three is not None else None
        )
        columns[name] = Side(indexes, counts)
        lacks[name] = Side(indexes, lack) if lack is not None else None
    result = replace(left, hint=hint, **columns)
    missing = replace(result, **lacks) if compensated else None
    return Outcome(result, missing, incompatible, collided, reconciled)


def _combined_hints(left: Ints, right: Ints) -> tuple[Ints, Bools]:
    """A gauge makes a gauge; otherwise equal hints stay, and what contradicts is unknown."""
    collided = ((left == RESET) & (right == NOT_RESET)) | ((left == NOT_RESET) & (right == RESET))
    hint = np.where(left == right, left, UNKNOWN)
    return np.where((left == GAUGE) | (right == GAUGE), GAUGE, hint), collided


def _zero_buckets_matched(
    left: Histograms, right: Histograms, rest: Histograms | None
) -> tuple[Histograms, Histograms, Histograms | None]:
    """Zero buckets made equally wide: the narrower one takes in what lies in the wider one, which
    grows to the end of a populated bucket that it would cut. A loop over the few rows that
    differ."""
    exponential = ~left.is_custom & ~right.is_custom
    rows = np.flatnonzero(exponential & (left.zero_threshold != right.zero_threshold))
    if not len(rows):
        return left, right, rest
    everyone = np.arange(len(left))
    left, right = left.take(everyone), right.take(everyone)
    rest = rest.take(everyone) if rest is not None else None
    for row in rows:
        while left.zero_threshold[row] != right.zero_threshold[row]:
            if left.zero_threshold[row] > right.zero_threshold[row]:
                _widen(right, int(row), float(left.zero_threshold[row]), None)
            else:
                _widen(left, int(row), float(right.zero_threshold[row]), rest)
    return left, right, rest


def _widen(block: Histograms, row: int, threshold: float, rest: Histograms | None) -> None:
    """Widen one zero bucket in place to `threshold` or to the end of the bucket that it cuts."""
    wide, inside = _widened(block, row, threshold)
    for name, columns in inside.items():
        side: Side = getattr(block, name)
        block.zero_count[row] += side.counts[row, columns].sum()
        side.counts[row, columns] = 0.0
        if rest is not None:
            lacking: Side = getattr(rest, name)
            block.zero_count[row] += lacking.counts[row, columns].sum()
            lacking.counts[row, columns] = 0.0
    block.zero_threshold[row] = wide
    if rest is not None:
        rest.zero_threshold[row] = wide


def _widened(block: Histograms, row: int, threshold: float) -> tuple[float, dict[str, Bools]]:
    """How wide a zero bucket must become, and the columns that then lie in it."""
    inside: dict[str, Bools] = {}
    while True:
        grown = threshold
        for name in ("positive", "negative"):
            side: Side = getattr(block, name)
            schema = int(block.schema[row])
            upper = upper_bounds(side.indexes, schema)
            inside[name] = upper_bounds(side.indexes - 1, schema) < threshold
            cut = inside[name] & (upper > threshold) & (side.counts[row] != 0)
            if cut.any():
                grown = max(grown, float(upper[cut].max()))
        if grown == threshold:
            return threshold, inside
        threshold = grown


def _without_zero_bucket(block: Histograms, threshold: Floats) -> Histograms:
    """Without the buckets that lie in a zero bucket of that threshold: they are counted there."""
    rows = np.flatnonzero((threshold > 0) & ~block.is_custom)
    if not len(rows):
        return block
    sides: dict[str, Any] = {}
    for name in ("positive", "negative"):
        side: Side = getattr(block, name)
        counts = side.counts
        for schema in np.unique(block.schema[rows]):
            of_schema = rows[block.schema[rows] == schema]
            upper = upper_bounds(side.indexes, int(schema))
            covered = upper[None, :] <= threshold[of_schema][:, None]
            if covered.any():
                counts = counts.copy() if counts is side.counts else counts
                counts[of_schema] = np.where(covered, 0.0, counts[of_schema])
        sides[name] = Side(side.indexes, counts)
    return replace(block, **sides)


def _bounds_matched(
    left: Histograms, right: Histograms, rest: Histograms | None, incompatible: Bools
) -> tuple[Histograms, Histograms, Histograms | None, Bools]:
    """Custom buckets of different bounds moved to the bounds that both have."""
    known = {bounds: at for at, bounds in enumerate(left.bounds)}
    places = np.array([known.get(bounds, -2) for bounds in right.bounds] + [-1])
    reconciled = left.is_custom & right.is_custom & (left.bounds_of != places[right.bounds_of])
    reconciled &= ~incompatible
    shared: dict[int, tuple[float, ...]] = {}
    for row in np.flatnonzero(reconciled):
        one, two = left.bounds[left.bounds_of[row]], right.bounds[right.bounds_of[row]]
        shared[int(row)] = tuple(sorted(set(one) & set(two)))
    if not reconciled.any():
        return left, right, rest, reconciled
    rest = _rebound(rest, shared) if rest is not None else None
    left = _rebound(left, shared)
    return left, _rebound(right, shared), rest, reconciled


def _rebound(block: Histograms, shared: dict[int, tuple[float, ...]]) -> Histograms:
    """Rows moved to bounds that are a part of their own: a bucket goes where its upper bound is."""
    known = {bounds: at for at, bounds in enumerate(block.bounds)}
    bounds_of = block.bounds_of.copy()
    width = 1 + max([len(bounds) for bounds in (*known, *shared.values())], default=0)
    indexes = np.union1d(block.positive.indexes, np.arange(width))
    before = block.positive.on(indexes)
    counts = before.copy()
    for row, bounds in shared.items():
        upper = np.append(np.array(block.bounds[block.bounds_of[row]]), np.inf)
        upper = upper[np.clip(indexes, 0, len(upper) - 1)]
        target = np.searchsorted(np.array(bounds), upper)
        counts[row] = 0.0
        np.add.at(counts[row], np.searchsorted(indexes, target), before[row])
        bounds_of[row] = known.setdefault(bounds, len(known))
    return replace(block, positive=Side(indexes, counts), bounds_of=bounds_of, bounds=tuple(known))


def detect_resets(current: Histograms, previous: Histograms) -> Bools:
    """Where a counter was reset between two rows: its hint says so, or a count went down, a
    populated bucket is gone, the schema became finer, the zero bucket narrower."""
    found = (current.count < previous.count) | (current.schema > previous.schema)
    both_custom = current.is_custom & previous.is_custom
    exponential = ~current.is_custom & ~previous.is_custom
    found |= current.is_custom & ~previous.is_custom
    found |= exponential & (current.zero_threshold < previous.zero_threshold)
    unsure = ~found & ((current.hint == UNKNOWN) | (current.hint == GAUGE))
    if unsure.any():
        rows = np.flatnonzero(unsure & (both_custom | exponential))
        found[rows] = _fewer(current.take(rows), previous.take(rows))
    found = np.where(current.hint == RESET, True, found)
    return np.where(current.hint == NOT_RESET, False, found)


def _fewer(current: Histograms, previous: Histograms) -> Bools:
    """Whether any bucket of rows of the same kind went down, in the layout of `current`."""
    nothing = np.zeros(len(current), bool)
    current, previous, _, _ = _bounds_matched(current, previous, None, nothing)
    grown = np.flatnonzero(current.zero_threshold != previous.zero_threshold)
    found = nothing
    if len(grown):
        previous = previous.take(np.arange(len(previous)))
        for row in grown:
            wanted = float(current.zero_threshold[row])
            _widen(previous, int(row), wanted, None)
            found[row] = previous.zero_threshold[row] != wanted
    found |= current.zero_count < previous.zero_count
    previous = _without_zero_bucket(previous.coarser(current.schema), current.zero_threshold)
    current = _without_zero_bucket(current, current.zero_threshold)
    for name in ("positive", "negative"):
        one, two = getattr(current, name), getattr(previous, name)
        indexes = np.union1d(one.indexes, two.indexes)
        found |= (one.on(indexes) < two.on(indexes)).any(axis=1)
    return found


def same(left: Histograms, right: Histograms) -> Bools:
    """Rows that hold the same data: layout, counts and sums by their bits."""

    def bits(one: Floats, two: Floats) -> Bools:
        return (one == two) | (np.isnan(one) & np.isnan(two))

    found = (left.schema == right.schema) & (left.zero_threshold == right.zero_threshold)
    for name in ("count", "sum", "zero_count"):
        found &= bits(getattr(left, name), getattr(right, name))
    for row in np.flatnonzero(found & left.is_custom):
        of_left, of_right = left.bounds_of[row], right.bounds_of[row]
        found[row] = left.bounds[of_left] == right.bounds[of_right]
    for name in ("positive", "negative"):
        one, two = getattr(left, name), getattr(right, name)
        indexes = np.union1d(one.indexes, two.indexes)
        found &= bits(one.on(indexes), two.on(indexes)).all(axis=1)
    return found


def joined_rows(parts: Iterable[tuple[Histograms | None, npt.NDArray[Any]]]) -> tuple[
    Histograms | None, list[npt.NDArray[Any]]
]:  # fmt: skip
    """Blocks made one, and the row numbers into each moved to it; -1 stays."""
    blocks: list[Histograms] = []
    moved, start = [], 0
    for block, rows in parts:
        moved.append(np.where(rows >= 0, rows + start, -1))
        if block is not None:
            blocks.append(block)
            start += len(block)
    return (Histograms.joined(blocks) if blocks else None), moved
