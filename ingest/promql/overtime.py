"""Functions over range vectors that look at the samples of one window: `*_over_time`, deriv,
changes and their like; rates have a room of their own (`rates`).

Windows of all series and all steps are worked on at once: what has to go through a window sample by
sample (compensated sums, smoothing) goes through all windows in step, the k-th sample of each at a
time, the longest windows first, so that those still going are a prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ingest.errors import PromqlFailure
from ingest.promql import annotations as notes
from ingest.promql.annotations import Annotations
from ingest.promql.gotext import go_g
from ingest.promql.histograms import (
    NOT_RESET,
    RESET,
    Histograms,
    accumulate,
    combine,
    detect_resets,
    kahan,
    same,
)
from ingest.promql.tree import Call, Node
from ingest.promql.values import Bools, Floats, Ints, Vector, Windows

_VISITS, _LONGEST = 2_000_000, 1000
"""Visits of samples, and samples of a window, up to which sums go through windows one sample at a
time; above they are differences of running sums."""

_SPREAD = 1e9
"""How far sizes of samples may lie apart for that: a small sum is lost beside a very large one."""

_GATHERED = 4_000_000
"""Cells of a matrix of windows that is sorted at once."""


@dataclass(slots=True)
class Request:
    """A call of a range function: its argument's windows, its scalars, where notes go; `check` is
    called between the parts of what takes long."""

    call: Call
    argument: Node  # the range vector, whose place annotations carry
    windows: Windows
    scalars: list[Floats]  # [T] each
    times: Ints  # [T]: the steps
    notes: Annotations
    extension: str | None = None  # anchored or smoothed
    check: Callable[[], None] = lambda: None
    _split: tuple[Windows, Windows] | None = field(default=None)

    @property
    def floats(self) -> Windows:
        return self.split()[0]

    def split(self) -> tuple[Windows, Windows]:
        """Windows of floats alone and of histograms alone."""
        if self._split is None:
            self._split = self.windows.split()
        return self._split

    def warn(self, where: Bools, text: Callable[[str], str]) -> None:
        """A warning for each series with a window in `where` [S, T]; `text` takes its name."""
        for series in np.flatnonzero(where.any(axis=1)):
            self.notes.warn(text(self.windows.name(int(series))), self.argument)

    def inform(self, where: Bools, text: Callable[[str], str]) -> None:
        for series in np.flatnonzero(where.any(axis=1)):
            self.notes.info(text(self.windows.name(int(series))), self.argument)

    def vector(
        self, values: Floats, present: Bools, block: Histograms | None = None, rows: Any = None
    ) -> Vector:
        labels, drops = self.windows.labels, self.windows.drops
        return Vector(labels, values, present, drops, block, rows)

    def of_histograms(self, present: Bools, block: Histograms) -> Vector:
        """A vector whose present cells are the rows of a block, in their order."""
        rows = np.full(present.shape, -1)
        rows[present] = np.arange(len(block))
        return self.vector(np.zeros(present.shape), present, block, rows)

    def ignore_histograms(self, least: int = 1) -> Windows:
        """The floats of windows; an info where histograms lie beside at least one."""
        floats, histograms = self.split()
        self.inform((floats.counts >= least) & (histograms.counts > 0), notes.ignored_in_range)
        return floats


def walk(low: Ints, high: Ints) -> tuple[Ints, Iterator[tuple[int, Ints]]]:
    """Through all windows in step: the order in which they stand, and for k = 0, 1, … how many have
    a k-th sample and where it is."""
    counts = high - low
    order = np.argsort(-counts, kind="stable")
    starts, lengths = low[order], counts[order]

    def steps() -> Iterator[tuple[int, Ints]]:
        for k in range(int(lengths[0]) if len(lengths) else 0):
            active = int(np.searchsorted(-lengths, -k, "left"))
            yield active, starts[:active] + k

    return order, steps()


def _sums(windows: Windows, present: Bools) -> tuple[Floats, Floats]:
    """Compensated sums of the present windows: totals and what they lack."""
    low, high = windows.low[present], windows.high[present]
    total, rest = np.zeros(len(low)), np.zeros(len(low))
    lengths = high - low
    if lengths.sum() > _VISITS or lengths.max(initial=0) > _LONGEST:
        sizes = np.abs(windows.values[windows.values != 0])
        if sizes.max(initial=0.0) <= _SPREAD * sizes.min(initial=np.inf):  # no NaN either
            return _prefix_sums(windows.values, low, high)
    order, steps = walk(low, high)
    for active, at in steps:
        total[:active], rest[:active] = kahan(windows.values[at], total[:active], rest[:active])
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return total[back], rest[back]


def _prefix_sums(values: Floats, low: Ints, high: Ints) -> tuple[Floats, Floats]:
    """As differences of running sums kept in two floats each: what every addition loses is known
    exactly, so that a window far into a series is as good as the first."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    before, after = total[:-1], total[1:]
    added = after - before
    lost = np.concatenate([[0.0], np.cumsum((before - (after - added)) + (values - added))])
    one, two = total[high], -total[low]
    difference = one + two
    part = difference - one
    error = (one - (difference - part)) + (two - part)
    return difference, error + (lost[high] - lost[low])


def _into(present: Bools, found: Floats) -> Floats:
    values = np.zeros(present.shape)
    values[present] = found
    return values


def sum_over_time(request: Request) -> Vector:
    floats, histograms = request.split()
    mixed = (floats.counts > 0) & (histograms.counts > 0)
    request.warn(mixed, notes.mixed_samples)
    present = (floats.counts > 0) & ~mixed
    total, rest = _sums(floats, present)
    result = request.vector(_into(present, np.where(np.isinf(total), total, total + rest)), present)
    return _beside(request, result, (histograms.counts > 0) & ~mixed, is_mean=False)


def avg_over_time(request: Request) -> Vector:
    floats, histograms = request.split()
    mixed = (floats.counts > 0) & (histograms.counts > 0)
    request.warn(mixed, notes.mixed_samples)
    present = (floats.counts > 0) & ~mixed
    total, rest = _sums(floats, present)
    counts = floats.counts[present]
    with np.errstate(invalid="ignore"):
        means = total / counts + rest / counts
    low = floats.low[present]
    for at in np.flatnonzero(np.isinf(total)):
        # The sum overflows: the mean is carried along instead.
        means[at] = incremental_mean(floats.values[low[at] : low[at] + counts[at]])
    result = request.vector(_into(present, means), present)
    return _beside(request, result, (histograms.counts > 0) & ~mixed, is_mean=True)


def incremental_mean(values: Floats) -> float:
    """A mean whose sum may overflow: plain while it does not, then carried along."""
    total: Any = values[0]
    rest: Any = np.float64(0.0)
    mean: Any = None
    count = 1.0
    for value in values[1:]:
        count += 1
        if mean is None:
            new, lacks = kahan(value, total, rest)
            if not np.isinf(new):
                total, rest = new, lacks
                continue
            mean, rest = total / (count - 1), rest / (count - 1)
        share = (count - 1) / count
        mean, rest = kahan(value / count, share * mean, share * rest)
    return float(total / count + rest / count) if mean is None else float(mean + rest)


def _beside(request: Request, floats: Vector, present: Bools, is_mean: bool) -> Vector:
    """Add sums or means of the windows [S, T] that hold histograms alone."""
    windows = request.split()[1]
    if not present.any():
        return floats
    assert windows.histograms is not None
    assert windows.rows is not None
    low, high = windows.low[present], windows.high[present]
    order, steps = walk(low, high)
    series = np.nonzero(present)[0][order]
    bad = np.zeros(len(order), bool)
    seen = np.zeros((2, len(order)), bool)
    reducer = Reducer(is_mean)
    for active, at in steps:
        block = windows.histograms.take(windows.rows[at])
        seen[0, :active] |= block.hint == RESET
        seen[1, :active] |= block.hint == NOT_RESET
        outcome = reducer.add(np.arange(active), block)
        bad[:active] |= outcome
    if (seen[0] & seen[1]).any():
        request.notes.warn(notes.collision("aggregation"), request.argument)
    if reducer.reconciled:
        request.notes.info(notes.reconciled("aggregation"), request.argument)
    for at in np.unique(series[bad]):
        request.notes.warn(notes.mixed_buckets(windows.name(int(at))), request.argument)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    block, good = reducer.result(back), ~bad[back]
    kept = present.copy()
    kept[present] = good
    found = request.of_histograms(kept, block.take(good))
    found.values, found.present = floats.values, floats.present | kept
    return found


class Reducer:
    """Sums or means of histograms, one accumulator for each of many groups, fed in turns.

    A mean divides its sum at the end, until a sum overflows: then that group's mean is carried
    along.
    """

    def __init__(self, is_mean: bool) -> None:
        self.is_mean = is_mean
        self.reconciled = False
        self._total: Histograms | None = None
        self._rest: Histograms | None = None
        self._counts = np.zeros(0)
        self._carried = np.zeros(0, bool)
        self._place = np.zeros(0, np.int64)  # the row of each group, -1 for none yet

    def add(self, groups: Ints, block: Histograms) -> Bools:
        """Add row i to group `groups[i]`, each at most once in a turn; which cannot be."""
        missing = int(groups.max(initial=-1)) + 1 - len(self._place)
        if missing > 0:
            self._place = np.concatenate([self._place, np.full(missing, -1)])
        at = self._place[groups]
        new = np.flatnonzero(at < 0)
        if len(new):
            self._append(groups[new], block.take(new))
        old = np.flatnonzero(at >= 0)
        bad = np.zeros(len(groups), bool)
        if len(old):
            bad[old] = self._update(at[old], block.take(old))
        return bad

    def _append(self, groups: Ints, block: Histograms) -> None:
        self._place[groups] = len(self._counts) + np.arange(len(groups))
        self._total = Histograms.joined([self._total, block] if self._total else [block])
        blank = block.blank()
        self._rest = Histograms.joined([self._rest, blank] if self._rest else [blank])
        self._counts = np.concatenate([self._counts, np.ones(len(block))])
        self._carried = np.concatenate([self._carried, np.zeros(len(block), bool)])

    def _update(self, at: Ints, block: Histograms) -> Bools:
        assert self._total is not None
        assert self._rest is not None
        everyone = len(at) == len(self._total) and bool((at == np.arange(len(at))).all())
        total = self._total if everyone else self._total.take(at)
        rest = self._rest if everyone else self._rest.take(at)
        self._counts[at] += 1
        counts, carried = self._counts[at], self._carried[at]
        if self.is_mean and carried.any():
            total, rest, block = self._shares(total, rest, block, counts, carried)
        outcome = accumulate(total, rest, block)
        if self.is_mean:
            over = outcome.result.overflows() & ~carried & ~outcome.incompatible
            if over.any():
                # From here on these carry their mean: what was summed so far, divided.
                total = total.put(over, total.over(counts - 1))
                rest = rest.put(over, rest.over(counts - 1))
                total, rest, block = self._shares(total, rest, block, counts, over)
                outcome = accumulate(total, rest, block)
                self._carried[at[over]] = True
        self.reconciled |= bool(outcome.reconciled.any())
        assert outcome.rest is not None
        if everyone:
            self._total, self._rest = outcome.result, outcome.rest
        else:
            self._total = self._replaced(self._total, at, outcome.result)
            self._rest = self._replaced(self._rest, at, outcome.rest)
        return outcome.incompatible

    @staticmethod
    def _replaced(block: Histograms, at: Ints, rows: Histograms) -> Histograms:
        order = np.arange(len(block))
        order[at] = len(block) + np.arange(len(at))
        return Histograms.joined([block, rows]).take(order)

    @staticmethod
    def _shares(
        total: Histograms, rest: Histograms, block: Histograms, counts: Floats, rows: Bools
    ) -> tuple[Histograms, Histograms, Histograms]:
        """The shares of the mean so far and of the next sample in the next mean."""
        share = np.where(rows, (counts - 1) / counts, 1.0)
        divisor = np.where(rows, counts, 1.0)
        return total.times(share), rest.times(share), block.over(divisor)

    def result(self, groups: Ints) -> Histograms:
        """Of these groups, each of which was added to."""
        assert self._total is not None
        assert self._rest is not None
        total, rest = self._total, self._rest
        if self.is_mean:
            divisor = np.where(self._carried, 1.0, self._counts)
            total, rest = total.over(divisor), rest.over(divisor)
        hint = total.hint
        return combine(total, rest.with_hint(hint)).result.take(self._place[groups])


def count_over_time(request: Request) -> Vector:
    sizes = request.windows.sizes
    return request.vector(sizes.astype(float), sizes > 0)


def present_over_time(request: Request) -> Vector:
    present = request.windows.counts > 0
    return request.vector(np.ones(present.shape), present)


def _one_sample(request: Request, at: Ints, present: Bools) -> Vector:
    """The sample at a flat index [S, T], float or histogram."""
    windows = request.windows
    where = np.where(present, at, 0)
    if not len(windows.times):
        return request.vector(np.zeros(present.shape), present)
    rows = None if windows.rows is None else np.where(present, windows.rows[where], -1)
    return request.vector(windows.values[where], present, windows.histograms, rows)


def first_over_time(request: Request) -> Vector:
    windows = request.windows
    return _one_sample(request, windows.low, windows.counts > 0)


def last_over_time(request: Request) -> Vector:
    windows = request.windows
    return _one_sample(request, windows.high - 1, windows.counts > 0)


def _times_at(request: Request, at: Ints) -> Vector:
    windows = request.windows
    present = windows.counts > 0
    values = np.zeros(present.shape)
    values[present] = windows.times[at[present]] / 1000
    return request.vector(values, present)


def ts_of_first_over_time(request: Request) -> Vector:
    return _times_at(request, request.windows.low)


def ts_of_last_over_time(request: Request) -> Vector:
    return _times_at(request, request.windows.high - 1)


def _extreme(reduce: np.ufunc) -> Callable[[Request], Vector]:
    """max or min: NaN only where there is nothing else."""

    def function(request: Request) -> Vector:
        floats = request.ignore_histograms()
        present = floats.counts > 0
        if not present.any():
            return request.vector(np.zeros(present.shape), present)
        # Pairs (low, high) of overlapping windows; what reduceat finds between them is dropped.
        pairs = np.stack([floats.low[present], floats.high[present]], axis=1).ravel()
        found = reduce.reduceat(np.append(floats.values, np.nan), pairs)[::2]
        return request.vector(_into(present, found), present)

    return function


def _time_of_extreme(is_max: bool) -> Callable[[Request], Vector]:
    """When the newest of the largest or smallest samples was."""

    def function(request: Request) -> Vector:
        floats = request.ignore_histograms()
        present = floats.counts > 0
        low, high = floats.low[present], floats.high[present]
        order, steps = walk(low, high)
        best, when = np.full(len(low), np.nan), np.zeros(len(low), np.int64)
        for active, at in steps:
            values = floats.values[at]
            with np.errstate(invalid="ignore"):
                better = values >= best[:active] if is_max else values <= best[:active]
            better |= np.isnan(best[:active])
            best[:active] = np.where(better, values, best[:active])
            when[:active] = np.where(better, floats.times[at], when[:active])
        found = np.empty(len(low))
        found[order] = when / 1000
        return request.vector(_into(present, found), present)

    return function


def _variance(is_deviation: bool) -> Callable[[Request], Vector]:
    """Welford's running variance, compensated."""

    def function(request: Request) -> Vector:
        floats = request.ignore_histograms()
        present = floats.counts > 0
        low, high = floats.low[present], floats.high[present]
        order, steps = walk(low, high)
        mean, lacks, sums, rest = np.zeros((4, len(low)))
        with np.errstate(invalid="ignore", over="ignore"):
            for k, (active, at) in enumerate(steps, 1):
                value, to = floats.values[at], slice(0, active)
                delta = value - (mean[to] + lacks[to])
                mean[to], lacks[to] = kahan(delta / k, mean[to], lacks[to])
                square = delta * (value - (mean[to] + lacks[to]))
                sums[to], rest[to] = kahan(square, sums[to], rest[to])
            found = np.empty(len(low))
            found[order] = (sums + rest) / (high - low)[order]
            found = np.sqrt(found) if is_deviation else found
        return request.vector(_into(present, found), present)

    return function


def quantile_rows(quantile: Floats, values: Floats, counts: Ints) -> Floats:
    """Quantiles of rows [n, L] of which the first `counts` are filled; NaN is the smallest."""
    with np.errstate(invalid="ignore"):
        # NaN sorts last in numpy: what is missing is +inf's follower, so sort by two keys.
        filled = np.arange(values.shape[1]) < counts[:, None]
        nans = np.isnan(values) & filled
        keys = np.where(nans, -np.inf, np.where(filled, values, np.nan))
        ordered = np.sort(keys, axis=1)
        leading = nans.sum(axis=1)
        rank = quantile * (counts - 1)
        lower = np.clip(np.floor(rank), 0, None)
        upper = np.minimum(counts - 1, lower + 1)
        weight = rank - np.floor(rank)

        def at(places: Floats) -> Floats:
            whole = np.clip(np.nan_to_num(places), 0, np.maximum(counts - 1, 0)).astype(int)
            found = ordered[np.arange(len(values)), whole]
            return np.where(whole < leading, np.nan, found)

        found = at(lower) * (1 - weight) + at(upper) * weight
        found = np.where(quantile < 0, -np.inf, np.where(quantile > 1, np.inf, found))
    return np.where(np.isnan(quantile) | (counts == 0), np.nan, found)


def _gathered(
    request: Request, windows: Windows, present: Bools
) -> Iterator[tuple[slice, Floats, Ints]]:
    """The present windows as rows of matrices, a few million cells at a time."""
    low, counts = windows.low[present], windows.counts[present]
    if not len(low):
        return
    each = max(1, _GATHERED // max(int(counts.max()), 1))
    for start in range(0, len(low), each):
        request.check()
        part = slice(start, start + each)
        at = low[part, None] + np.arange(int(counts[part].max()))
        yield part, windows.values[np.minimum(at, len(windows.values) - 1)], counts[part]


def quantile_over_time(request: Request) -> Vector:
    floats = request.floats
    present = floats.counts > 0
    quantile = np.broadcast_to(request.scalars[0], present.shape)
    for step in np.flatnonzero(present.any(axis=0)):
        value = float(request.scalars[0][step])
        if not 0 <= value <= 1:
            request.notes.warn(notes.bad_quantile(value), request.call.arguments[0])
    mixed = present & (request.split()[1].counts > 0)
    for series in np.flatnonzero(mixed.any(axis=1)):
        text = notes.ignored_in_range(request.windows.name(int(series)))
        request.notes.info(text, request.call.arguments[0])
    found, wanted = np.empty(int(present.sum())), quantile[present]
    for part, values, counts in _gathered(request, floats, present):
        found[part] = quantile_rows(wanted[part], values, counts)
    return request.vector(_into(present, found), present)


def mad_over_time(request: Request) -> Vector:
    """The median of the distances from the median; NaN where any sample is."""
    floats = request.ignore_histograms()
    present = floats.counts > 0
    found = np.empty(int(present.sum()))
    for part, values, counts in _gathered(request, floats, present):
        half = np.full(len(values), 0.5)
        median = quantile_rows(half, values, counts)
        found[part] = quantile_rows(half, np.abs(values - median[:, None]), counts)
        filled = np.arange(values.shape[1]) < counts[:, None]
        found[part][(np.isnan(values) & filled).any(axis=1)] = np.nan
    return request.vector(_into(present, found), present)


def _regression(windows: Windows, present: Bools, origin: Ints) -> tuple[Floats, Floats]:
    """Least squares through windows: slope a second, and the value at `origin`."""
    low, high = windows.low[present], windows.high[present]
    order, steps = walk(low, high)
    start = origin[order]
    sums, rest = np.zeros((4, len(low))), np.zeros((4, len(low)))
    first = windows.values[low[order]]
    is_flat = np.ones(len(low), bool)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for active, at in steps:
            x = (windows.times[at] - start[:active]) / 1e3
            y = windows.values[at]
            is_flat[:active] &= (y == first[:active]) | (at == low[order][:active])
            for row, term in enumerate((x, y, x * y, x * x)):
                sums[row, :active], rest[row, :active] = kahan(
                    term, sums[row, :active], rest[row, :active]
                )
        count = (high - low)[order]
        x, y, xy, xx = sums + rest
        slope = (xy - x * y / count) / (xx - x * x / count)
        intercept = y / count - slope * x / count
    level = np.where(np.isinf(first), np.nan, first)
    slope = np.where(is_flat, np.where(np.isinf(first), np.nan, 0.0), slope)
    intercept = np.where(is_flat, level, intercept)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return slope[back], intercept[back]


def _regressed(request: Request) -> tuple[Windows, Bools]:
    """Windows with at least two floats."""
    floats = request.ignore_histograms()
    return floats, floats.counts >= 2


def deriv(request: Request) -> Vector:
    floats, present = _regressed(request)
    # Near the samples, for the sake of accuracy.
    slope, _ = _regression(floats, present, floats.times[floats.low[present]])
    return request.vector(_into(present, slope), present)


def predict_linear(request: Request) -> Vector:
    floats, present = _regressed(request)
    origin = np.broadcast_to(request.times, present.shape)[present]
    slope, intercept = _regression(floats, present, origin)
    ahead = np.broadcast_to(request.scalars[0], present.shape)[present]
    with np.errstate(invalid="ignore"):
        return request.vector(_into(present, slope * ahead + intercept), present)


def double_exponential_smoothing(request: Request) -> Vector:
    """Raises: PromqlFailure: a factor outside (0, 1); NaN makes NaN."""
    floats = request.ignore_histograms()
    present = floats.counts >= 2
    if (request.windows.counts > 0).any():
        for factor, name in zip(request.scalars, ("smoothing", "trend"), strict=True):
            for value in factor:
                if value <= 0 or value >= 1:
                    sign = "sf" if name == "smoothing" else "tf"
                    shown = f"{value:f}" if np.isfinite(value) else go_g(float(value))
                    wish = f"Expected: 0 < {sign} < 1, got: {shown}"
                    raise PromqlFailure(f"invalid {name} factor. {wish}")
    low, high = floats.low[present], floats.high[present]
    order, steps = walk(low, high)
    smoothing, trend = (
        np.broadcast_to(factor, present.shape)[present][order] for factor in request.scalars
    )
    before, now, slope = np.zeros((3, len(low)))
    for k, (active, at) in enumerate(steps):
        to, value = slice(0, active), floats.values[at]
        if k == 0:
            now[to] = value
            continue
        if k == 1:
            slope[to] = value - now[to]
        else:
            slope[to] = trend[to] * (now[to] - before[to]) + (1 - trend[to]) * slope[to]
        following = smoothing[to] * value + (1 - smoothing[to]) * (now[to] + slope[to])
        before[to], now[to] = now[to].copy(), following
    found = np.empty(len(low))
    found[order] = now
    return request.vector(_into(present, found), present)


def reset_by_start(windows: Windows) -> Bools:
    """Samples [N] whose start timestamp tells of a reset since the sample before.

    It lies after that sample, or on it where that one's own start is known (deltas)."""
    found = np.zeros(len(windows.times), bool)
    if windows.starts is None or len(found) < 2:
        return found
    starts, times = windows.starts, windows.times
    now, before = starts[1:], times[:-1]
    valid = (now != 0) & (now < times[1:])
    known = (starts[:-1] <= before) & (starts[:-1] != 0) & (starts[:-1] != before)
    found[1:] = valid & ((now > before) | ((now == before) & known))
    return found


def _pairs(windows: Windows, floats: Callable[[Floats, Floats], Bools], is_reset: bool) -> Bools:
    """Whether each sample [N] differs from the one before it, by a rule for two floats; histograms
    by their resets or their data; a change of kind always does."""
    found = np.zeros(len(windows.times), bool)
    if len(found) < 2:
        return found
    found[1:] = floats(windows.values[1:], windows.values[:-1])
    if windows.rows is not None and windows.histograms is not None:
        kind = windows.rows >= 0
        found[1:] = np.where(kind[1:] | kind[:-1], kind[1:] != kind[:-1], found[1:])
        both = np.flatnonzero(kind[1:] & kind[:-1]) + 1
        if len(both):
            now = windows.histograms.take(windows.rows[both])
            before = windows.histograms.take(windows.rows[both - 1])
            found[both] = detect_resets(now, before) if is_reset else ~same(now, before)
    if is_reset:
        kind = np.zeros(len(found), bool) if windows.rows is None else windows.rows >= 0
        alike = np.concatenate([[False], kind[1:] == kind[:-1]])
        found |= reset_by_start(windows) & alike
    return found


def _counted(request: Request, pairs: Bools) -> Vector:
    """How many samples of each window differ from the one before them in it."""
    windows = request.windows
    low, high = windows.low, windows.high
    present = windows.counts > 0
    if request.extension == "anchored":
        inside = windows.place(windows.begin, "right")
        present &= inside < high
        low = np.maximum(low, inside - 1)  # the newest before the range is the anchor
    before = np.concatenate([[0], np.cumsum(pairs)])
    found = before[high] - before[np.minimum(low + 1, high)]
    return request.vector(found.astype(float), present)


def changes(request: Request) -> Vector:
    def differ(now: Floats, before: Floats) -> Bools:
        return (now != before) & ~(np.isnan(now) & np.isnan(before))

    return _counted(request, _pairs(request.windows, differ, is_reset=False))


def resets(request: Request) -> Vector:
    return _counted(request, _pairs(request.windows, np.less, is_reset=True))


FUNCTIONS: dict[str, Callable[[Request], Vector]] = {
    "absent_over_time": present_over_time,
    "avg_over_time": avg_over_time,
    "changes": changes,
    "count_over_time": count_over_time,
    "deriv": deriv,
    "double_exponential_smoothing": double_exponential_smoothing,
    "first_over_time": first_over_time,
    "last_over_time": last_over_time,
    "mad_over_time": mad_over_time,
    "max_over_time": _extreme(np.fmax),
    "min_over_time": _extreme(np.fmin),
    "predict_linear": predict_linear,
    "present_over_time": present_over_time,
    "quantile_over_time": quantile_over_time,
    "resets": resets,
    "stddev_over_time": _variance(True),
    "stdvar_over_time": _variance(False),
    "sum_over_time": sum_over_time,
    "ts_of_first_over_time": ts_of_first_over_time,
    "ts_of_last_over_time": ts_of_last_over_time,
    "ts_of_max_over_time": _time_of_extreme(True),
    "ts_of_min_over_time": _time_of_extreme(False),
}
"""By name; those of `rates` come to them."""
