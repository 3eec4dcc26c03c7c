"""Aggregations: series of one group become one (sum, avg, …), or some of them are chosen (topk, …).

Series are put in the order of their groups, so that a group is a run of rows. What must be summed
in order (compensated sums) goes through all groups in turns, the j-th series of each at a time; a
group of very many series is summed as a tree of exact sums of two instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from ingest.errors import PromqlFailure
from ingest.promql import annotations as notes
from ingest.promql.annotations import Annotations
from ingest.promql.gotext import go_g, go_quote, number_text
from ingest.promql.histograms import NOT_RESET, RESET, kahan
from ingest.promql.overtime import Reducer, incremental_mean, quantile_rows
from ingest.promql.parser import valid_label
from ingest.promql.tree import Aggregate, Text
from ingest.promql.values import (
    NAME,
    Bools,
    Floats,
    Ints,
    Labels,
    Vector,
    empty,
    only,
    with_label,
    without,
)

_MOST_TURNS = 256
_INT64 = 2.0**63


@dataclass(slots=True)
class Groups:
    """The grouping of a vector's series. `order` puts them by group; group g is then the rows
    starts[g] <= i < starts[g] + sizes[g]."""

    labels: list[Labels]
    of: Ints  # [S]: the group of each series
    order: Ints
    starts: Ints
    sizes: Ints

    def turns(self) -> Iterator[tuple[Ints, Ints]]:
        """For j = 0, 1, …: the groups that have a j-th series, and which series that is."""
        for j in range(int(self.sizes.max(initial=0))):
            groups = np.flatnonzero(self.sizes > j)
            yield groups, self.order[self.starts[groups] + j]


def grouped(labels: list[Labels], node: Aggregate) -> Groups:
    names = node.grouping
    dropped, kept = frozenset((*names, NAME)), frozenset(names)
    keys: list[object]
    if node.without:
        keys = [
            tuple([pair for pair in named.items() if pair[0] not in dropped]) for named in labels
        ]
    elif len(names) == 1:
        keys = [named.get(names[0]) for named in labels]
    else:
        keys = [tuple([named.get(name) for name in names]) for named in labels]
    number = {key: group for group, key in enumerate(dict.fromkeys(keys))}
    of = np.fromiter(map(number.__getitem__, keys), np.int64, len(keys))
    order = np.argsort(of, kind="stable")
    sizes = np.bincount(of, minlength=len(number))
    starts = np.cumsum(sizes) - sizes
    firsts = [labels[series] for series in order[starts].tolist()]
    found = [without(one, dropped) if node.without else only(one, kept) for one in firsts]
    return Groups(found, of, order, starts, sizes)


@dataclass(slots=True)
class Aggregation:
    """One aggregation at work. `parameter` [T] of those that take a number."""

    node: Aggregate
    vector: Vector
    groups: Groups
    notes: Annotations
    parameter: Floats | None = None

    def result(self, values: Floats, present: Bools) -> Vector:
        """A series for each group."""
        drops = np.zeros(len(self.groups.labels), bool)
        np.logical_or.at(drops, self.groups.of, self.vector.drops)
        return Vector(self.groups.labels, values, present, drops).without_empty()

    def runs(self, reduce: np.ufunc, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A ufunc over the series of each group [G, T]."""
        if not len(values):
            return np.zeros((0, *values.shape[1:]), values.dtype)
        return reduce.reduceat(values[self.groups.order], self.groups.starts, axis=0)

    def ignore_histograms(self, node: object = None) -> None:
        if self.vector.is_histogram.any():
            where = self.node if node is self.node else self.node.body
            self.notes.info(f"ignored histogram in {self.node.op} aggregation", where)


def aggregate(
    node: Aggregate,
    vector: Vector,
    parameter: Floats | None,
    warnings: Annotations,
    is_instant: bool,
) -> Vector:
    """Any aggregation but count_values.

    Args:
        parameter: of topk, quantile and their like, [T].
        is_instant: at one step; topk and its like then order their results.

    Raises:
        PromqlFailure: a parameter that is none.
    """
    if not len(vector.labels):
        if node.op in _CHOICES or node.op == "quantile":
            work = Aggregation(node, vector, grouped([], node), warnings, parameter)
            _checked_parameter(work)
        return empty(vector.values.shape[1])
    work = Aggregation(node, vector, grouped(vector.labels, node), warnings, parameter)
    if node.op in _CHOICES:
        return _chosen(work, is_instant)
    return _REDUCTIONS[node.op](work)


def _sums(work: Aggregation) -> tuple[Floats, Floats]:
    """Compensated sums of the floats of each group [G, T], and what they lack."""
    vector, groups = work.vector, work.groups
    floats = vector.floats
    shape = (len(groups.labels), vector.values.shape[1])
    if groups.sizes.max() > _MOST_TURNS:
        return _tree_sums(np.where(floats, vector.values, 0.0)[groups.order], groups)
    total, rest = np.zeros(shape), np.zeros(shape)
    for at, series in groups.turns():
        here, value = floats[series], vector.values[series]
        new, lacks = kahan(value, total[at], rest[at])
        total[at] = np.where(here, new, total[at])
        rest[at] = np.where(here, lacks, rest[at])
    return total, rest


def _tree_sums(values: Floats, groups: Groups) -> tuple[Floats, Floats]:
    """Sums of runs of rows by halves: each pair's sum and, exactly, what it loses."""
    total, rest = values, np.zeros_like(values)
    of = np.repeat(np.arange(len(groups.sizes)), groups.sizes)
    while len(of) > len(groups.sizes):
        starts = np.flatnonzero(np.concatenate([[True], of[1:] != of[:-1]]))
        place = np.arange(len(of)) - starts[of]
        left = np.flatnonzero(place % 2 == 0)
        paired = np.zeros(len(left), bool)
        inside = left + 1 < len(of)
        paired[inside] = of[left[inside] + 1] == of[left[inside]]
        right = left[paired] + 1
        new, lost = total[left].copy(), rest[left].copy()
        new[paired], lost[paired] = kahan(total[right], total[left[paired]], rest[left[paired]])
        lost[paired] += np.where(np.isinf(new[paired]), 0.0, rest[right])
        total, rest, of = new, lost, of[left]
    return total, rest


def _sum(work: Aggregation) -> Vector:
    total, rest = _sums(work)
    return _with_histograms(work, total + rest, is_mean=False)


def _avg(work: Aggregation) -> Vector:
    total, rest = _sums(work)
    counts = work.runs(np.add, work.vector.floats.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = total / counts + rest / counts
    groups = work.groups
    for group, step in np.argwhere(np.isinf(total)):
        # A sum that overflows: the mean is carried along instead.
        series = groups.order[groups.starts[group] :][: groups.sizes[group]]
        here = work.vector.floats[series, step]
        means[group, step] = incremental_mean(work.vector.values[series[here], step])
    return _with_histograms(work, means, is_mean=True)


def _with_histograms(work: Aggregation, values: Floats, is_mean: bool) -> Vector:
    """Sums or means of floats, and of histograms where a group has those alone."""
    vector, groups, node = work.vector, work.groups, work.node
    has_float = work.runs(np.logical_or, vector.floats)
    here = vector.is_histogram
    result = work.result(values, has_float)
    if not here.any():
        return result
    assert vector.rows is not None
    assert vector.histograms is not None
    shape = has_float.shape
    has_histogram = work.runs(np.logical_or, here)
    bad, resets, others = np.zeros((3, *shape), bool)
    reducer = Reducer(is_mean)
    for at, series in groups.turns():
        some = here[series] & ~bad[at]
        if not some.any():
            continue
        line, steps = np.nonzero(some)
        cells = at[line] * shape[1] + steps
        block = vector.histograms.take(vector.rows[series][some])
        resets.ravel()[cells] |= block.hint == RESET
        others.ravel()[cells] |= block.hint == NOT_RESET
        wrong = reducer.add(cells, block)
        bad.ravel()[cells[wrong]] = True
        for place in np.unique(series[line[wrong]]):
            work.notes.warn(notes.mixed_buckets(vector.name(int(place))), node.body)
    if reducer.reconciled:
        work.notes.info(notes.reconciled("aggregation"), node.body)
    mixed = has_float & has_histogram
    if mixed.any():
        said = "encountered a mix of histograms and floats for aggregation"
        work.notes.warn(said, node.body)
    good = has_histogram & ~has_float & ~bad
    if (resets & others & good).any():
        work.notes.warn(notes.collision("aggregation"), node.body)
    rows = np.full(shape, -1)
    rows[good] = np.arange(int(good.sum()))
    result = work.result(values, np.ones(shape, bool))
    result.present = (has_float & ~has_histogram) | good
    if good.any():
        result.histograms, result.rows = reducer.result(np.flatnonzero(good)), rows
    return result.without_empty()


def _count(work: Aggregation) -> Vector:
    counts = work.runs(np.add, work.vector.present.astype(float))
    return work.result(counts, counts > 0)


def _group(work: Aggregation) -> Vector:
    present = work.runs(np.logical_or, work.vector.present)
    return work.result(np.ones(present.shape), present)


def _extreme(reduce: np.ufunc) -> Callable[[Aggregation], Vector]:
    def function(work: Aggregation) -> Vector:
        work.ignore_histograms()
        floats = work.vector.floats
        values = work.runs(reduce, np.where(floats, work.vector.values, np.nan))
        return work.result(values, work.runs(np.logical_or, floats))

    return function


def _variance(is_deviation: bool) -> Callable[[Aggregation], Vector]:
    """Welford's running variance in turns; of very many series in two passes."""

    def function(work: Aggregation) -> Vector:
        work.ignore_histograms()
        vector, groups = work.vector, work.groups
        floats = vector.floats
        counts = work.runs(np.add, floats.astype(float))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            if groups.sizes.max() > _MOST_TURNS:
                squares = _two_passes(work, counts)
            else:
                squares = _welford(work)
            found = squares / counts
            found = np.sqrt(found) if is_deviation else found
        return work.result(found, counts > 0)

    return function


def _welford(work: Aggregation) -> Floats:
    vector, groups, floats = work.vector, work.groups, work.vector.floats
    count, mean, squares = np.zeros((3, len(groups.labels), vector.values.shape[1]))
    for at, series in groups.turns():
        here, value = floats[series], vector.values[series]
        count[at] += here
        delta = value - mean[at]
        # The first value is the mean, so that one that is not finite makes NaN of all.
        step = np.where(count[at] > 1, delta / np.maximum(count[at], 1), delta)
        moved = np.where(count[at] > 1, mean[at] + step, value)
        mean[at] = np.where(here, moved, mean[at])
        added = np.where(count[at] > 1, delta * (value - mean[at]), 0.0)
        added = np.where((count[at] == 1) & ~np.isfinite(value), np.nan, added)
        squares[at] += np.where(here, added, 0.0)
    return squares


def _two_passes(work: Aggregation, counts: Floats) -> Floats:
    vector, groups = work.vector, work.groups
    total, rest = _sums(work)
    mean = (total + rest) / counts
    distance = np.where(vector.floats, vector.values - mean[groups.of], 0.0)[groups.order]
    squares, lost = _tree_sums(distance * distance, groups)
    alike = work.runs(np.fmax, np.where(vector.floats, vector.values, np.nan)) == work.runs(
        np.fmin, np.where(vector.floats, vector.values, np.nan)
    )
    return np.where(alike & np.isfinite(mean), 0.0, squares + lost)


def _quantile(work: Aggregation) -> Vector:
    work.ignore_histograms()
    _checked_parameter(work)
    assert work.parameter is not None
    vector, groups, floats = work.vector, work.groups, work.vector.floats
    values = np.zeros((len(groups.labels), vector.values.shape[1]))
    for group, (start, size) in enumerate(zip(groups.starts, groups.sizes, strict=True)):
        series = groups.order[start : start + size]
        here = floats[series].T  # [T, members]
        # Present ones first, as rows of a matrix whose length is counted.
        first = np.argsort(~here, axis=1, kind="stable")
        rows = np.take_along_axis(vector.values[series].T, first, axis=1)
        values[group] = quantile_rows(work.parameter, rows, here.sum(axis=1))
    return work.result(values, work.runs(np.logical_or, floats))


_REDUCTIONS: dict[str, Callable[[Aggregation], Vector]] = {
    "sum": _sum,
    "avg": _avg,
    "count": _count,
    "group": _group,
    "max": _extreme(np.fmax),
    "min": _extreme(np.fmin),
    "quantile": _quantile,
    "stddev": _variance(True),
    "stdvar": _variance(False),
}
_CHOICES = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})


def _checked_parameter(work: Aggregation) -> bool:
    """Whether there is anything to choose at all.

    Raises:
        PromqlFailure: NaN or no whole number of 64 bits.
    """
    op, parameter = work.node.op, work.parameter
    where = work.node.parameter
    assert parameter is not None
    assert where is not None
    least, most, has_nan = parameter.min(), parameter.max(), bool(np.isnan(parameter).any())
    if op == "quantile":
        for wrong in (has_nan and np.nan, most > 1 and most, least < 0 and least):
            if wrong is not False and wrong is not np.False_:
                work.notes.warn(notes.bad_quantile(float(wrong)), where)
    elif op == "limit_ratio":
        if most == 0 and least == 0:
            return False
        if has_nan:
            raise PromqlFailure("Ratio value is NaN")
        for value, bound in ((most, 1.0), (least, -1.0)):
            if abs(value) > 1 and value * bound > 0:
                work.notes.warn(
                    f"ratio value should be between -1 and 1, got {go_g(float(value))}, "
                    f"capping to {go_g(bound)}",
                    where,
                )
    else:
        if most < 1:
            return False
        if has_nan:
            raise PromqlFailure("Parameter value is NaN")
        if least <= -_INT64:
            raise PromqlFailure(f"Scalar value {go_g(float(least))} underflows int64")
        if most >= _INT64:
            raise PromqlFailure(f"Scalar value {go_g(float(most))} overflows int64")
    return True


def _chosen(work: Aggregation, is_instant: bool) -> Vector:
    """Series as they are, at the steps at which they are among the chosen of their group."""
    vector, op = work.vector, work.node.op
    if not _checked_parameter(work):
        return empty(vector.values.shape[1])
    assert work.parameter is not None
    if op == "limit_ratio":
        offsets = np.array([_hash(labels) / 2**64 for labels in vector.labels])[:, None]
        ratio = np.clip(work.parameter, -1, 1)
        kept = np.where(ratio >= 0, offsets < ratio, offsets >= 1 + ratio)
        return vector.filtered(kept & (ratio != 0))
    count = np.minimum(np.trunc(work.parameter), len(vector.labels))
    if op == "limitk":
        present = vector.present[work.groups.order]
        before: Ints = np.cumsum(present, axis=0) - present
        first: Ints = before[work.groups.starts][work.groups.of[work.groups.order]]
        kept = np.zeros(present.shape, bool)
        kept[work.groups.order] = present & (before - first < count)
        return vector.filtered(kept)
    work.ignore_histograms(work.node)
    return _ranked(work, count, is_instant)


def _ranked(work: Aggregation, count: Floats, is_instant: bool) -> Vector:
    """topk and bottomk: the best of each group, NaN last; at one step in that order."""
    vector, groups, floats = work.vector, work.groups, work.vector.floats
    sign = -1.0 if work.node.op == "topk" else 1.0
    keys = np.where(floats, sign * vector.values, np.nan)
    kept = np.zeros(floats.shape, bool)
    ordered: list[int] = []
    for start, size in zip(groups.starts, groups.sizes, strict=True):
        series = groups.order[start : start + size]
        here = floats[series]
        # numpy sorts NaN last; present NaNs before what is absent, by a second, stable sort.
        best = np.argsort(keys[series], axis=0, kind="stable")
        best = np.take_along_axis(
            best, np.argsort(~np.take_along_axis(here, best, 0), axis=0, kind="stable"), 0
        )
        places = np.empty_like(best)
        np.put_along_axis(places, best, np.arange(size)[:, None], 0)
        kept[series] = here & (places < count)
        if is_instant:
            ordered.extend(series[best[: int(max(count[0], 0)), 0]])
    if not is_instant:
        return vector.filtered(kept)
    found = vector.filtered(kept) if not ordered else None
    if found is not None:
        return found
    chosen = [series for series in ordered if kept[series, 0]]
    result = vector.take(chosen)
    result.is_ordered = True
    return result


def _hash(labels: Labels) -> int:
    """Prometheus' hash of a label set, which decides what limit_ratio samples: XXH64 over lengths
    and texts, a length above 254 in four bytes."""
    data = bytearray()
    for pair in labels.items():
        for text in pair:
            raw = text.encode(errors="surrogateescape")
            data += (
                bytes([len(raw)]) if len(raw) < 255 else b"\xff" + len(raw).to_bytes(3, "little")
            )
            data += raw
    return xxhash.xxh64_intdigest(bytes(data))


def count_values(node: Aggregate, vector: Vector, hold: Callable[[int], None]) -> Vector:
    """A series for each value of each group, with how often it is there; `hold` hears of each.

    Raises:
        PromqlFailure: no name for a label.
    """
    assert isinstance(node.parameter, Text)
    name = node.parameter.value
    if not valid_label(name):
        raise PromqlFailure(f"invalid label name {go_quote(name)}")
    steps = vector.values.shape[1]
    counts: dict[tuple[tuple[str, str], ...], tuple[Labels, Floats]] = {}
    kept = frozenset((*node.grouping, name))
    dropped = frozenset((*node.grouping, NAME))
    histograms = vector.is_histogram
    for series, labels in enumerate(vector.labels):
        here = vector.present[series]
        texts = np.empty(steps, object)
        for step in np.flatnonzero(here):
            if histograms[series, step]:
                assert vector.histograms is not None
                assert vector.rows is not None
                texts[step] = vector.histograms.text(int(vector.rows[series, step]))
            else:
                texts[step] = number_text(float(vector.values[series, step]))
        for text in set(texts[here]):
            named = with_label(labels, name, text)
            named = without(named, dropped) if node.without else only(named, kept)
            key = tuple(named.items())
            if key not in counts:
                hold(steps)
                counts[key] = (named, np.zeros(steps))
            counts[key][1][:] += texts == text
    if not counts:
        return empty(steps)
    values = np.array([found for _, found in counts.values()])
    labels_of = [named for named, _ in counts.values()]
    return Vector(labels_of, values, values > 0, np.zeros(len(values), bool))
