"""Quantiles, fractions and deviations of histograms: native ones as rows of a block, classic ones
as series with the label `le`.

Native: all rows of one layout at once, the buckets from the lowest to the highest as columns.
Classic: all steps of one histogram at once, as long as the same buckets are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ingest.promql import annotations as notes
from ingest.promql.annotations import Annotations
from ingest.promql.gotext import go_quote
from ingest.promql.histograms import Histograms, kahan
from ingest.promql.tree import Node
from ingest.promql.values import Bools, Floats, Ints, Key, Labels, Vector, key_of, without

_NEGLIGIBLE = 1e-12
"""A relative difference of cumulative counts that is a matter of floats."""

_LE = "le"


@dataclass(slots=True)
class Found:
    """Values of n rows, and which of them have observations that are NaN: without a result, or with
    one that is too high (quantiles) or too low (fractions)."""

    values: Floats
    is_nowhere: Bools
    is_skewed: Bools


def quantiles(block: Histograms, quantile: Floats) -> Found:
    """Quantiles [n] of n histograms: interpolated in the bucket where it lies, exponentially but
    for the zero bucket and custom buckets."""
    found = Found(np.full(len(block), np.nan), *np.zeros((2, len(block)), bool))
    for rows in block.layouts():
        _quantiles(block, rows, quantile[rows], found)
    with np.errstate(invalid="ignore"):
        outside = np.where(quantile < 0, -np.inf, np.where(quantile > 1, np.inf, np.nan))
    ok = ((quantile >= 0) & (quantile <= 1)) & (block.count != 0)
    found.values = np.where(ok, found.values, outside)
    found.is_nowhere &= ok
    found.is_skewed &= ok
    return found


def _quantiles(block: Histograms, rows: Ints, quantile: Floats, found: Found) -> None:
    counts, lower, upper = block.ascending(rows)
    total, is_custom = block.count[rows], bool(block.is_custom[rows[0]])
    has_nan = np.isnan(block.sum[rows])
    # The upper half is searched from above, where it is more exact; not if NaNs are counted.
    forward = has_nan | (quantile < 0.5)
    flip = np.where(forward[:, None], np.arange(counts.shape[1]), np.arange(counts.shape[1])[::-1])
    line = np.arange(len(rows))
    counts, lower, upper = (np.take_along_axis(of, flip, 1) for of in (counts, lower, upper))
    rank = np.where(forward, quantile * total, (1 - quantile) * total)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        running = np.cumsum(counts, axis=1)
        hit = (running >= rank[:, None]) & (counts != 0)
        populated = counts != 0
        last = counts.shape[1] - 1 - np.argmax(populated[:, ::-1], axis=1)
        at = np.where(hit.any(axis=1), np.argmax(hit, axis=1), last)
        low, high, own = lower[line, at], upper[line, at], counts[line, at]
        # What is nowhere ends where the search did; without any bucket at zero.
        low, high = (np.where(populated.any(axis=1), of, 0.0) for of in (low, high))
        count = np.minimum(running[line, at], total)
        negative, positive = (
            (side.counts[rows] != 0).any(axis=1) for side in (block.negative, block.positive)
        )
        if not is_custom:
            around = (low < 0) & (high > 0)
            low = np.where(around & ~negative & positive, 0.0, low)
            high = np.where(around & ~positive & negative, 0.0, high)
        edge = np.full(len(rows), np.nan)
        if is_custom:
            edge = np.where(np.isneginf(low) & (high <= 0), high, edge)
            edge = np.where(~np.isneginf(low) & np.isposinf(high), low, edge)
            low = np.where(np.isneginf(low), 0.0, low)
        missed = (count < rank) & np.isnan(edge)
        inside = np.where(forward, rank - (count - own), count - rank)
        fraction = inside / own
        straight = low + (high - low) * fraction
        value = straight if is_custom else _exponential(low, high, fraction, straight)
    value = np.where(missed, np.where(has_nan, np.nan, high), value)
    found.values[rows] = np.where(np.isnan(edge), value, edge)
    found.is_nowhere[rows] = missed & has_nan
    found.is_skewed[rows] = has_nan & ~missed & np.isnan(edge) & (counts.sum(axis=1) < total)


def _exponential(low: Floats, high: Floats, fraction: Floats, straight: Floats) -> Floats:
    """On a scale of logarithms, where exponential buckets are equally wide; straight through
    zero."""
    from_low, from_high = np.log2(np.abs(low)), np.log2(np.abs(high))
    above = np.exp2(from_low + (from_high - from_low) * fraction)
    below = -np.exp2(from_high + (from_low - from_high) * (1 - fraction))
    curved = np.where(low > 0, above, below)
    return np.where((low <= 0) & (high >= 0), straight, curved)


def fractions(block: Histograms, lower: Floats, upper: Floats) -> Found:
    """The share [n] of observations between two values each."""
    found = Found(np.zeros(len(block)), *np.zeros((2, len(block)), bool))
    for rows in block.layouts():
        counts, low, high = block.ascending(rows)
        negative, positive = (
            (side.counts[rows] != 0).any(axis=1)[:, None]
            for side in (block.negative, block.positive)
        )
        zero = (low <= 0) & (high >= 0)
        low = np.where(zero & ~negative & positive, 0.0, low)
        high = np.where(zero & ~positive & negative, 0.0, high)
        linear = zero | block.is_custom[rows[0]]
        has_nan = np.isnan(block.sum[rows])
        total = np.where(has_nan, counts.sum(axis=1), block.count[rows])
        edges = (counts, low, high, linear, total)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = _below(upper[rows], *edges) - _below(lower[rows], *edges)
            found.values[rows] = share / block.count[rows]
        found.is_skewed[rows] = has_nan & (total < block.count[rows])
    nothing = (block.count == 0) | np.isnan(lower) | np.isnan(upper)
    found.is_skewed &= ~nothing & (lower < upper)
    found.values = np.where(lower >= upper, 0.0, found.values)
    found.values = np.where(nothing, np.nan, found.values)
    return found


def _below(
    value: Floats, counts: Floats, low: Floats, high: Floats, linear: Bools, total: Floats
) -> Floats:
    """How many observations of each row lie below its value; total where it lies above all."""
    at_or_in = (low >= value[:, None]) | (high > value[:, None])
    line, at = np.arange(len(value)), np.argmax(at_or_in, axis=1)
    before = np.cumsum(counts, axis=1)[line, at] - counts[line, at]
    before = np.where(at == 0, 0.0, before)
    one, two, own = low[line, at], high[line, at], counts[line, at]
    straight = (value - one) / (two - one)
    from_one, from_two, of_value = (np.log2(np.abs(of)) for of in (one, two, value))
    curved = (of_value - from_one) / (from_two - from_one)
    mirrored = 1 - (of_value - from_two) / (from_one - from_two)
    share = np.where(linear[line, at], straight, np.where(value > 0, curved, mirrored))
    # A bucket without a lower end counts as a whole.
    inside = np.where(np.isneginf(one), own, before + own * share)
    found = np.where(one >= value, before, inside)
    found = np.where(at_or_in.any(axis=1), found, total)
    return np.minimum(found, total)


def variances(block: Histograms) -> Floats:
    """Of n histograms, every observation at the middle of its bucket: the geometric one, zero for
    the zero bucket, the arithmetic one for custom buckets."""
    found = np.zeros(len(block))
    for rows in block.layouts():
        counts, low, high = block.ascending(rows)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            if block.is_custom[rows[0]]:
                middle = (high + low) / 2
            else:
                middle = np.sqrt(high * low)
                middle = np.where(high < 0, -middle, middle)
                middle = np.where((low <= 0) & (high >= 0), 0.0, middle)
            delta = middle - (block.sum[rows] / block.count[rows])[:, None]
            total, rest = np.zeros(len(rows)), np.zeros(len(rows))
            for column in range(counts.shape[1]):
                some = counts[:, column] != 0
                square = np.where(some, counts[:, column] * delta[:, column] ** 2, 0.0)
                total, rest = kahan(square, total, rest)
            found[rows] = (total + rest) / block.count[rows]
    return found


# Classic histograms ------------------------------------------------------------------------------


@dataclass(slots=True)
class Classic:
    """One histogram of series: its labels without `le`, its series from the lowest bound up."""

    labels: Labels
    series: Ints
    bounds: Floats
    drops: bool


def le_value(text: str) -> float | None:
    """The bound that a label says."""
    if not text or text != text.strip() or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(slots=True)
class Split:
    """A vector's histograms: native samples [S, T], and classic ones with their samples [S, T]."""

    native: Bools
    classic: list[Classic]
    present: Bools


def split_histograms(vector: Vector, node: Node, warnings: Annotations, is_delayed: bool) -> Split:
    """Which samples belong to what; where one label set has both kinds at a step, neither
    counts."""
    native, present = vector.is_histogram, vector.floats.copy()
    groups: dict[Key, list[tuple[float, int]]] = {}
    for series in np.flatnonzero(present.any(axis=1)):
        labels = vector.labels[series]
        bound = le_value(labels.get(_LE, ""))
        if bound is None:
            value = go_quote(labels.get(_LE, ""))
            said = f'bucket label "le" is missing or has a malformed value of {value}'
            name = vector.name(int(series)) if is_delayed else ""
            warnings.warn(said + notes.for_name(name), node)
            present[series] = False
            continue
        groups.setdefault(key_of(without(labels, (_LE,))), []).append((bound, int(series)))
    for series in np.flatnonzero(native.any(axis=1)):
        parts = groups.get(key_of(vector.labels[series]))
        if parts is None:
            continue
        of_parts = [at for _, at in parts]
        both = native[series] & present[of_parts].any(axis=0)
        if both.any():
            name = vector.name(int(series)) if is_delayed else ""
            said = "vector contains a mix of classic and native histograms"
            warnings.warn(said + notes.for_name(name), node)
            native[series] &= ~both
            present[of_parts] &= ~both
    classic = []
    for key, parts in groups.items():
        parts.sort(key=lambda part: part[0])
        at = np.array([series for _, series in parts])
        bounds = np.array([bound for bound, _ in parts])
        classic.append(Classic(dict(key), at, bounds, bool(vector.drops[at].any())))
    return Split(native, classic, present)


def patterns(present: Bools) -> Iterator[tuple[Ints, Ints]]:
    """Steps at which the same rows of a mask [B, T] are present: (rows, steps), none without a
    row."""
    if present.all():
        yield np.arange(len(present)), np.arange(present.shape[1])
        return
    packed = np.packbits(present, axis=0)
    _, first, which = np.unique(packed, axis=1, return_index=True, return_inverse=True)
    for number, step in enumerate(first):
        rows = np.flatnonzero(present[:, step])
        if len(rows):
            yield rows, np.flatnonzero(which.ravel() == number)


@dataclass(slots=True)
class Forced:
    """Where buckets had to be made cumulative [T]: lowest and highest bound, largest difference."""

    where: Bools
    low: Floats
    high: Floats
    difference: Floats


def over_classic(
    vector: Vector,
    split: Split,
    of: Callable[[Floats, Floats, Ints], Floats],
) -> Vector:
    """A value for each classic histogram at each step: `of(bounds, cumulative counts [B, t],
    steps)` for the steps at which the same buckets are there."""
    steps = vector.values.shape[1]
    values = np.zeros((len(split.classic), steps))
    present = np.zeros(values.shape, bool)
    for at, histogram in enumerate(split.classic):
        there = split.present[histogram.series]
        for rows, where in patterns(there):
            counts = vector.values[np.ix_(histogram.series[rows], where)]
            bounds, starts = np.unique(histogram.bounds[rows], return_index=True)
            counts = np.add.reduceat(counts, starts, axis=0)  # equal bounds are one bucket
            values[at, where] = of(bounds, counts, where)
            present[at, where] = True
    drops = np.array([histogram.drops for histogram in split.classic], bool)
    return Vector([histogram.labels for histogram in split.classic], values, present, drops)


def classic_quantiles(quantile: Floats, bounds: Floats, counts: Floats) -> tuple[Floats, Forced]:
    """Quantiles [T] of cumulative counts [B, T], straight between bounds [B]."""
    steps = counts.shape[1]
    nothing = np.zeros(steps)
    forced = Forced(nothing.astype(bool), nothing + np.inf, nothing - np.inf, nothing.copy())
    outside = np.where(quantile < 0, -np.inf, np.where(quantile > 1, np.inf, np.nan))
    valid = (quantile >= 0) & (quantile <= 1)
    if not np.isposinf(bounds[-1]):
        return np.where(valid, np.nan, outside), forced
    counts = _made_cumulative(bounds, counts, forced)
    forced.where &= valid
    if len(bounds) < 2:
        return np.where(valid, np.nan, outside), forced
    with np.errstate(invalid="ignore", divide="ignore"):
        rank = quantile * counts[-1]
        reached = counts[:-1] >= rank
        at = np.where(reached.any(axis=0), np.argmax(reached, axis=0), len(bounds) - 1)
        line, before = np.arange(steps), np.maximum(at - 1, 0)
        start = np.where(at > 0, bounds[before], 0.0)
        under = np.where(at > 0, counts[before, line], 0.0)
        share = (rank - under) / (counts[at, line] - under)
        value = start + (bounds[at] - start) * share
    value = np.where((at == 0) & (bounds[0] <= 0), bounds[0], value)
    value = np.where(at == len(bounds) - 1, bounds[-2], value)
    value = np.where(counts[-1] == 0, np.nan, value)
    return np.where(valid, value, outside), forced


def _made_cumulative(bounds: Floats, counts: Floats, forced: Forced) -> Floats:
    """Counts that never go down; differences of floats are levelled without a word."""
    counts = counts.copy()
    previous = counts[0]
    for row in range(1, len(counts)):
        now = counts[row]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            scale = np.minimum(np.abs(previous) + np.abs(now), np.finfo(float).max)
            tiny = np.abs(previous - now) / scale < _NEGLIGIBLE
            tiny &= (previous != 0) & (now != 0)
            fewer = (now < previous) & ~tiny
        forced.where |= fewer
        forced.low = np.where(fewer, np.minimum(forced.low, bounds[row]), forced.low)
        forced.high = np.where(fewer, np.maximum(forced.high, bounds[row]), forced.high)
        lost = np.where(fewer, previous - now, 0.0)
        forced.difference = np.maximum(forced.difference, lost)
        counts[row] = np.where(fewer | tiny, previous, now)
        previous = counts[row]
    return counts


def classic_fractions(lower: Floats, upper: Floats, bounds: Floats, counts: Floats) -> Floats:
    """The share [T] of observations between two values each, straight between bounds."""
    if not np.isposinf(bounds[-1]):
        return np.full(counts.shape[1], np.nan)
    first = 0.0 if bounds[0] > 0 else -np.inf
    starts = np.concatenate([[first], bounds[:-1]])
    total = counts[-1]

    def below(value: Floats) -> Floats:
        reached = (starts[:, None] >= value) | (bounds[:, None] > value)
        at, line = np.argmax(reached, axis=0), np.arange(len(value))
        under = np.where(at > 0, counts[np.maximum(at - 1, 0), line], 0.0)
        start, end, own = starts[at], bounds[at], counts[at, line]
        share = (own - under) * (value - start) / (end - start)
        inside = np.where(np.isneginf(start), own, under + share)
        found = np.where(start >= value, under, inside)
        return np.minimum(np.where(reached.any(axis=0), found, total), total)

    with np.errstate(invalid="ignore", divide="ignore"):
        value = (below(upper) - below(lower)) / total
    value = np.where(lower >= upper, 0.0, value)
    return np.where((total == 0) | np.isnan(lower) | np.isnan(upper), np.nan, value)
