"""rate, increase, delta, irate and idelta, of floats and of histograms, and their extended forms
(anchored, smoothed).

A rate is the last sample minus the first, plus what was lost at counter resets, extrapolated to the
edges of the window. All windows are worked on at once; resets of histograms, which are rare, in
turns: the first of every window that has one, then the second, …
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ingest.promql import annotations as notes
from ingest.promql.histograms import (
    GAUGE,
    Histograms,
    Outcome,
    combine,
    detect_resets,
)
from ingest.promql.overtime import Request, reset_by_start
from ingest.promql.values import Bools, Floats, Ints, Vector, Windows


@dataclass(slots=True)
class _Kind:
    is_counter: bool
    is_rate: bool


_KINDS = {
    "rate": _Kind(True, True),
    "increase": _Kind(True, False),
    "delta": _Kind(False, False),
    "irate": _Kind(True, True),
    "idelta": _Kind(False, False),
}

MOST_PAIRS = 1_000_000
"""Of windows and resets in them, at once; each takes 24 bytes."""


def turns(marks: Bools, low: Ints, high: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The marked samples in windows low <= i < high, turn by turn: which windows [of n], and
    where."""
    places = np.flatnonzero(marks)
    first, last = np.searchsorted(places, low), np.searchsorted(places, high)
    for turn in range(int((last - first).max(initial=0))):
        windows = np.flatnonzero(last - first > turn)
        yield windows, places[first[windows] + turn]


def add_lost(
    sums: Floats, values: Floats, marks: Bools, low: Ints, high: Ints, most: int = MOST_PAIRS
) -> None:
    """Add to each sum [of n] the value before each marked sample in its window low <= i < high,
    from the first to the last: sums of floats depend on their order, and `np.add.at` has that of
    its arguments.

    Args:
        most: windows that have more of them together are worked on in pieces.
    """
    places = np.flatnonzero(marks)
    before = values[places - 1]
    first = np.searchsorted(places, low)
    counts = np.maximum(np.searchsorted(places, high) - first, 0)
    ends = np.cumsum(counts)
    since = done = 0
    while since < len(counts) and done < ends[-1]:
        until = max(since + 1, int(np.searchsorted(ends, done + most, side="right")))
        some = counts[since:until]
        # Of each pair of a window and a mark in it, the number of the mark.
        shift = first[since:until] - (ends[since:until] - some - done)
        number = np.arange(some.sum()) + np.repeat(shift, some)
        np.add.at(sums, np.repeat(np.arange(since, since + len(some)), some), before[number])
        since, done = until, int(ends[until - 1])


def extrapolated(request: Request) -> Vector:
    """rate, increase and delta."""
    if request.extension:
        return _extended(request)
    kind = _KINDS[request.call.function.name]
    floats, histograms = request.split()
    mixed = (floats.counts > 0) & (histograms.counts > 0)
    request.warn(mixed, notes.mixed_samples)
    values, present = _rate_of_floats(request, floats, (floats.counts > 0) & ~mixed, kind)
    result = request.vector(values, present)
    some = (histograms.counts > 0) & ~mixed
    if not some.any():
        return result
    found = _rate_of_histograms(request, histograms, some, kind)
    found.values, found.present = values, present | found.present
    return found


def _rate_of_floats(
    request: Request, windows: Windows, some: Bools, kind: _Kind
) -> tuple[Floats, Bools]:
    low, high = windows.low[some], windows.high[some]
    if not len(low):
        return np.zeros(some.shape), np.zeros(some.shape, bool)
    values = windows.values
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        change = values[high - 1] - values[low]
        if kind.is_counter:
            marks = np.zeros(len(values), bool)
            marks[1:] = values[1:] < values[:-1]
            if windows.starts is not None:
                marks |= reset_by_start(windows)
                _warn_of_overlaps(request, windows, some)
            add_lost(change, values, marks, low + 1, high)
        starts = _usable_start(windows, some, kind)
        change = np.where(starts > 0, change + values[low], change)
        first = np.where((change > 0) & (values[low] >= 0), values[low] / change, np.inf)
        factor, valid = _factor(windows, some, starts, first, kind)
        found = np.zeros(some.shape)
        found[some] = change * factor
    present = some.copy()
    present[some] = valid
    return found, present


def _warn_of_overlaps(request: Request, windows: Windows, some: Bools) -> None:
    """A start timestamp before the sample before it, and not that one's own: once a window."""
    assert windows.starts is not None
    starts, times = windows.starts, windows.times
    marks = np.zeros(len(times), bool)
    marks[1:] = (starts[1:] != 0) & (starts[1:] < times[:-1]) & (starts[1:] != starts[:-1])
    before = np.concatenate([[0], np.cumsum(marks)])
    overlaps = before[windows.high] - before[np.minimum(windows.low + 1, windows.high)] > 0
    for series in np.nonzero(overlaps & some)[0]:
        request.notes.overlap(windows.name(int(series)), request.argument)


def _usable_start(windows: Windows, some: Bools, kind: _Kind) -> Ints:
    """The start timestamp of the first sample of each window where it lies in the window: there the
    counter was zero, and nothing needs extrapolating to the left. Else 0."""
    low = windows.low[some]
    if windows.starts is None or not kind.is_counter:
        return np.zeros(len(low), np.int64)
    start = windows.starts[low]
    begin = np.broadcast_to(windows.begin, some.shape)[some]
    return np.where((start > begin) & (start < windows.times[low]) & (start != 0), start, 0)


def _factor(
    windows: Windows, some: Bools, starts: Ints, zero_after: Floats, kind: _Kind
) -> tuple[Floats, Bools]:
    """By what a change between first and last sample is multiplied to cover the window, and where
    there is anything to extrapolate from.

    To an edge that is nearer than 1.1 of the average distance of samples all the way, else half
    that distance; and a counter not below zero: `zero_after` is how far back, in sampled intervals.
    """
    low, high = windows.low[some], windows.high[some]
    begin = np.broadcast_to(windows.begin, some.shape)[some]
    end = np.broadcast_to(windows.end, some.shape)[some]
    first, last, gaps = windows.times[low], windows.times[high - 1], windows.sizes[some] - 1
    to_start, to_end = (first - begin) / 1000, (end - last) / 1000
    sampled = (last - first) / 1000
    average = np.divide(sampled, gaps, out=np.zeros(len(gaps)), where=gaps > 0)
    threshold = average * 1.1
    to_start = np.where(to_start >= threshold, average / 2, to_start)
    if kind.is_counter:
        to_zero = np.where(np.isinf(zero_after), np.inf, sampled * zero_after)
        to_start = np.where(to_zero < to_start, to_zero, to_start)
    to_start = np.where(starts > 0, 0.0, to_start)
    sampled = np.where(starts > 0, (last - starts) / 1000, sampled)
    to_end = np.where(to_end >= threshold, average / 2, to_end)
    factor = np.where(sampled != 0, (sampled + to_start + to_end) / sampled, 1.0)
    if kind.is_rate:
        factor /= windows.range_ms / 1000
    return factor, (gaps > 0) | (starts > 0)


class Books:
    """Notes about histograms of windows, series by series, and which windows are given up."""

    def __init__(self, request: Request, windows: Windows, some: Bools) -> None:
        self.request, self.windows = request, windows
        self.series = np.nonzero(some)[0]
        self.good = np.ones(len(self.series), bool)

    def warn(self, where: Bools, text: Callable[[str], str]) -> None:
        for series in np.unique(self.series[where]):
            self.request.notes.warn(text(self.windows.name(int(series))), self.request.argument)

    def give_up(self, where: Bools) -> None:
        """Windows whose histograms do not fit together."""
        self.warn(where & self.good, notes.mixed_buckets)
        self.good &= ~where

    def took(self, at: Ints, outcome: Outcome, operation: str) -> Histograms:
        """The result of combining rows for the windows `at`, what went wrong noted."""
        if outcome.reconciled.any():
            self.request.notes.info(notes.reconciled(operation), self.request.argument)
        bad = np.zeros(len(self.good), bool)
        bad[at] = outcome.incompatible
        self.give_up(bad)
        return outcome.result

    def gauges(self, hints: list[tuple[Ints, Ints]], is_counter: bool) -> None:
        """Warn where `hints` of windows are of another kind than the function is for."""
        bad = np.zeros(len(self.good), bool)
        for at, hint in hints:
            bad[at] |= (hint == GAUGE) if is_counter else (hint != GAUGE)
        kind = "counter" if is_counter else "gauge"
        self.warn(bad, lambda name: notes.not_a(kind, name))


def _resets_of(windows: Windows) -> Bools:
    """Which samples [N] of windows of histograms alone tell of a reset since the one before."""
    marks = np.zeros(len(windows.times), bool)
    assert windows.histograms is not None
    assert windows.rows is not None
    if len(marks) > 1:
        block = windows.histograms
        marks[1:] = detect_resets(block.take(windows.rows[1:]), block.take(windows.rows[:-1]))
        marks[windows.offsets[:-1][windows.offsets[:-1] < len(marks)]] = False
    return marks | reset_by_start(windows)


def _spread(counts: Bools, low: Ints, high: Ints) -> Bools:
    """Whether any marked sample lies in low <= i < high."""
    before = np.concatenate([[0], np.cumsum(counts)])
    return before[np.maximum(high, low)] - before[low] > 0


def _rate_of_histograms(request: Request, windows: Windows, some: Bools, kind: _Kind) -> Vector:
    assert windows.histograms is not None
    assert windows.rows is not None
    block, rows = windows.histograms, windows.rows
    if windows.starts is not None and kind.is_counter:
        _warn_of_overlaps(request, windows, some & (windows.counts > 1))
    starts = _usable_start(windows, some, kind)
    single = windows.counts[some] < 2
    # A single sample tells of an increase only by its start timestamp.
    possible = ~single | (starts > 0)
    kept = some.copy()
    kept[some] = possible
    starts, single = starts[possible], single[possible]
    low, high = windows.low[kept], windows.high[kept]
    books = Books(request, windows, kept)
    change = _change_of_histograms(books, windows, low, high, single, kind)
    late = np.flatnonzero((starts > 0) & ~single)
    if len(late):
        outcome = combine(change.take(late), block.take(rows[low[late]]))
        change = _replaced(change, late, books.took(late, outcome, "addition"))
    first = block.count[rows[low]]
    with np.errstate(invalid="ignore", divide="ignore"):
        zero_after = np.where((change.count > 0) & (first >= 0), first / change.count, np.inf)
        factor, _ = _factor(windows, kept, starts, zero_after, kind)
    good = books.good
    present = kept.copy()
    present[kept] = good
    hint = np.where(single, change.hint, GAUGE)
    return request.of_histograms(present, change.with_hint(hint).times(factor).take(good))


def _replaced(block: Histograms, at: Ints, rows: Histograms) -> Histograms:
    order = np.arange(len(block))
    order[at] = len(block) + np.arange(len(at))
    return Histograms.joined([block, rows]).take(order)


def _change_of_histograms(
    books: Books, windows: Windows, low: Ints, high: Ints, single: Bools, kind: _Kind
) -> Histograms:
    """Last minus first plus what was lost at resets, of windows of at least two; of a single sample
    that sample."""
    assert windows.histograms is not None
    assert windows.rows is not None
    block, rows = windows.histograms, windows.rows
    pairs = np.flatnonzero(~single)
    hint, custom = block.hint[rows], block.is_custom[rows]
    ends = [(pairs, hint[low[pairs]]), (pairs, hint[high[pairs] - 1])]
    marks = _resets_of(windows) if kind.is_counter else np.zeros(len(windows.times), bool)
    # After a reset right behind it the first sample is nothing, of whatever layout.
    nothing = np.zeros(len(low), bool)
    nothing[pairs] = marks[low[pairs] + 1]
    leading = np.where(nothing, np.minimum(low + 1, high - 1), low)
    bad = custom[high - 1] != custom[leading]
    if kind.is_counter:
        gauges = hint == GAUGE
        inner = _spread(gauges, low + 1, high - 1) & ~single
        books.gauges([*ends, (np.flatnonzero(inner), np.full(int(inner.sum()), GAUGE))], True)
        inner_custom = _spread(custom, low + 1, high - 1)
        inner_plain = _spread(~custom, low + 1, high - 1)
        bad |= np.where(custom[leading], inner_plain, inner_custom)
    else:
        books.gauges(ends, False)
    books.give_up(bad & ~single)
    first = block.take(rows[leading])
    first = first.put(nothing, first.blank()) if nothing.any() else first
    first = _without_threshold(first, nothing)
    last = block.take(rows[high - 1])
    if kind.is_counter:
        last = last.coarser(_least_schema(block.schema[rows], low + 1, high, last.schema))
    outcome = combine(last, first, -1.0)
    change = books.took(np.arange(len(low)), outcome, "subtraction")
    if single.any():
        change = change.put(single, last)
    for at, places in turns(marks, low + 2, high):
        outcome = combine(change.take(at), block.take(rows[places - 1]))
        change = _replaced(change, at, books.took(at, outcome, "addition"))
    return change


def _without_threshold(block: Histograms, where: Bools) -> Histograms:
    """Rows of nothing have no zero bucket either."""
    if where.any():
        block.zero_threshold[where] = 0.0
    return block


def _least_schema(schema: Ints, low: Ints, high: Ints, last: Ints) -> Ints:
    """The coarsest exponential schema in low <= i < high, else the last's."""
    if not len(low):
        return last
    padded = np.append(np.where(schema < -4, 127, schema), 127)
    pairs = np.stack([low, np.maximum(high, low + 1)], axis=1)
    pairs = np.minimum(pairs, len(schema)).ravel()
    least = np.minimum.reduceat(padded, pairs)[::2]
    return np.where(low < high, np.minimum(least, last), last)


def instant(request: Request) -> Vector:
    """irate and idelta: of the last two samples of a window."""
    kind, windows = _KINDS[request.call.function.name], request.windows
    some = windows.counts >= 2
    last = np.where(some, windows.high - 1, 1)
    if not some.any():
        return request.vector(np.zeros(some.shape), some)
    span = (windows.times[last] - windows.times[last - 1]) / 1000
    by_start = reset_by_start(windows)[last]
    kinds = np.zeros(len(windows.times), bool) if windows.rows is None else windows.rows >= 0
    mixed = some & (kinds[last] != kinds[last - 1])
    request.warn(mixed, notes.mixed_samples)
    now, before = windows.values[last], windows.values[last - 1]
    with np.errstate(invalid="ignore", over="ignore"):
        is_reset = kind.is_counter & ((now < before) | by_start)
        found = np.where(is_reset, now, now - before)
        found = found / span if kind.is_rate else found
    present = some & ~kinds[last] & ~mixed
    values = np.where(present, found, 0.0)
    pairs = some & kinds[last] & ~mixed
    if not pairs.any():
        return request.vector(values, present)
    result = _instant_of_histograms(request, pairs, last, by_start, kind)
    result.values, result.present = values, present | result.present
    return result


def _instant_of_histograms(
    request: Request, pairs: Bools, last: Ints, by_start: Bools, kind: _Kind
) -> Vector:
    windows = request.windows
    assert windows.histograms is not None
    assert windows.rows is not None
    books = Books(request, windows, pairs)
    at = last[pairs]
    now = windows.histograms.take(windows.rows[at])
    before = windows.histograms.take(windows.rows[at - 1])
    everyone = np.arange(len(at))
    books.gauges([(everyone, now.hint), (everyone, before.hint)], kind.is_counter)
    found = now
    unbroken = np.ones(len(at), bool)
    if kind.is_counter:
        unbroken = ~(detect_resets(now, before) | by_start[pairs])
    which = np.flatnonzero(unbroken)
    if len(which):
        outcome = combine(now.take(which), before.take(which), -1.0)
        found = _replaced(now, which, books.took(which, outcome, "subtraction"))
    found = found.with_hint(GAUGE)
    if kind.is_rate:
        found = found.over((windows.times[at] - windows.times[at - 1]) / 1000)
    present = pairs.copy()
    present[pairs] = books.good
    return request.of_histograms(present, found.take(books.good))


# Extended ranges: windows also hold what lies up to a lookback outside of them -------------------


@dataclass(slots=True)
class _Edges:
    """Of each of n windows: the samples first and last to look at, and the range (begin, end]."""

    some: Bools  # [S, T]: which windows these are
    first: Ints
    last: Ints
    begin: Ints
    end: Ints


def _edges(windows: Windows, some: Bools, is_smoothed: bool) -> _Edges:
    """The newest sample at or before the range opens it; smoothed, the oldest at or after its end
    closes it. Windows without a sample in the range are left out."""
    last = windows.high - 1
    first = np.minimum(windows.place(windows.begin, "right"), last)
    first = np.maximum(windows.low, first - 1)
    if is_smoothed:
        last = np.minimum(windows.place(windows.end, "left"), last)
    some = some.copy()
    times, held = windows.times, windows.counts > 0
    if len(times):
        some &= held & (times[np.where(held, last, 0)] > windows.begin)
        if is_smoothed:
            some &= times[np.where(held, first, 0)] <= windows.end
    begin = np.broadcast_to(windows.begin, some.shape)[some]
    end = np.broadcast_to(windows.end, some.shape)[some]
    return _Edges(some, first[some], last[some], begin, end)


def interpolated(times: Ints, values: Floats, before: Ints, at: Ints, is_counter: bool) -> Floats:
    """Between samples `before` and `before + 1` at times `at`; over a reset a counter starts at
    0."""
    one, two = values[before], values[before + 1]
    with np.errstate(invalid="ignore", over="ignore"):
        one = np.where(is_counter & (two < one), 0.0, one)
        span = (times[before + 1] - times[before]).astype(float)
        return one + (two - one) * (at - times[before]).astype(float) / span


def _extended(request: Request) -> Vector:
    kind = _KINDS[request.call.function.name]
    floats, histograms = request.split()
    mixed = (floats.counts > 0) & (histograms.counts > 0)
    request.warn(mixed, notes.mixed_samples)
    is_smoothed = request.extension == "smoothed"
    edges = _edges(floats, (floats.counts > 0) & ~mixed, is_smoothed)
    values = np.zeros(mixed.shape)
    values[edges.some] = _extended_floats(floats, edges, is_smoothed, kind)
    result = request.vector(values, edges.some)
    some = (histograms.counts > 0) & ~mixed
    if not some.any():
        return result
    of_histograms = _edges(histograms, some, is_smoothed)
    found = _extended_histograms(request, histograms, of_histograms, is_smoothed, kind)
    found.values, found.present = values, edges.some | found.present
    return found


def _extended_floats(windows: Windows, edges: _Edges, is_smoothed: bool, kind: _Kind) -> Floats:
    times, values, first, last = windows.times, windows.values, edges.first, edges.last
    left, right = values[first].copy(), values[last].copy()
    if is_smoothed:
        at = np.flatnonzero(times[first] < edges.begin)
        left[at] = interpolated(times, values, first[at], edges.begin[at], kind.is_counter)
        # A lone sample behind the end has nothing before it to interpolate from.
        lone = windows.low[edges.some] == last
        at = np.flatnonzero((times[last] > edges.end) & ~lone)
        right[at] = interpolated(times, values, last[at] - 1, edges.end[at], kind.is_counter)
    with np.errstate(invalid="ignore", over="ignore"):
        found = right - left
        if kind.is_counter:
            found = found + _lost(windows, edges, left, right)
        return found / (windows.range_ms / 1000) if kind.is_rate else found


def _lost(windows: Windows, edges: _Edges, left: Floats, right: Floats) -> Floats:
    """What counters lost at resets from the left edge over the samples within to the right edge."""
    times, values = windows.times, windows.values
    low = edges.first + (times[edges.first] <= edges.begin)
    high = edges.last + 1 - (times[edges.last] >= edges.end)
    inside = low < high
    lost = np.where(inside & (values[np.minimum(low, len(values) - 1)] < left), left, 0.0)
    marks = np.zeros(len(values), bool)
    marks[1:] = values[1:] < values[:-1]
    add_lost(lost, values, marks, np.minimum(low + 1, len(values)), np.maximum(high, low + 1))
    previous = np.where(inside, values[np.maximum(high - 1, 0)], left)
    return lost + np.where(right < previous, previous, 0.0)


def _between(
    books: Books, windows: Windows, before: Ints, at: Ints, which: Ints, is_counter: bool
) -> Histograms:
    """Histograms of windows `which` between samples `before` and the next, at times `at`."""
    assert windows.histograms is not None
    assert windows.rows is not None
    one = windows.histograms.take(windows.rows[before])
    two = windows.histograms.take(windows.rows[before + 1])
    return interpolated_histograms(
        books, one, windows.times[before], two, windows.times[before + 1], at, which, is_counter
    )


def interpolated_histograms(
    books: Books,
    one: Histograms,
    time_one: Ints,
    two: Histograms,
    time_two: Ints,
    at: Ints,
    which: Ints,
    is_counter: bool | Bools,
) -> Histograms:
    """Row by row between two histograms; over a reset a counter starts at nothing."""
    fraction = (at - time_one) / (time_two - time_one)
    is_reset = np.broadcast_to(is_counter, len(one)) & detect_resets(two, one)
    # What is no sum of the two is not to be complained of as one: two by itself agrees.
    base = one.put(is_reset | (at == time_one) | (at == time_two), two)
    change = books.took(which, combine(two, base, -1.0), "subtraction").times(fraction)
    between = books.took(which, combine(change, base), "addition")
    between = between.put(is_reset, two.times(fraction))
    return between.put(at == time_two, two).put(at == time_one, one)


def _extended_histograms(
    request: Request, windows: Windows, edges: _Edges, is_smoothed: bool, kind: _Kind
) -> Vector:
    assert windows.histograms is not None
    assert windows.rows is not None
    block, rows, first, last = windows.histograms, windows.rows, edges.first, edges.last
    books = Books(request, windows, edges.some)
    custom = block.is_custom[rows]
    unlike = np.where(
        custom[first], _spread(~custom, first, last + 1), _spread(custom, first, last + 1)
    )
    books.give_up(unlike)
    left, right = block.take(rows[first]), block.take(rows[last])
    spanned = np.zeros(len(first), bool)  # the left edge lies between two samples
    if is_smoothed:
        spanned = windows.times[first] < edges.begin
        at = np.flatnonzero(spanned & books.good)
        between = _between(books, windows, first[at], edges.begin[at], at, kind.is_counter)
        left = _replaced(left, at, between)
        lone = windows.low[edges.some] == last
        at = np.flatnonzero((windows.times[last] > edges.end) & ~lone & books.good)
        between = _between(books, windows, last[at] - 1, edges.end[at], at, kind.is_counter)
        right = _replaced(right, at, between)
    everyone = np.flatnonzero(books.good)
    if kind.is_counter:
        gauges = np.flatnonzero(_spread(block.hint[rows] == GAUGE, first, last + 1) & books.good)
        books.gauges([(gauges, np.full(len(gauges), GAUGE))], True)
    else:
        ends = [(everyone, left.hint[everyone]), (everyone, right.hint[everyone])]
        books.gauges(ends, False)
    found = books.took(np.arange(len(first)), combine(right, left, -1.0), "subtraction")
    if kind.is_counter:
        found = _with_corrections(books, windows, edges, left, right, spanned, found)
    if kind.is_rate:
        found = found.over(windows.range_ms / 1000)
    present = edges.some.copy()
    present[edges.some] = books.good
    return request.of_histograms(present, found.with_hint(GAUGE).take(books.good))


def _with_corrections(
    books: Books,
    windows: Windows,
    edges: _Edges,
    left: Histograms,
    right: Histograms,
    spanned: Bools,
    found: Histograms,
) -> Histograms:
    """Add what was lost at resets between the edges. The left edge stands for the first sample, the
    right edge for the last; a reset that the left edge was interpolated over is accounted for."""
    assert windows.histograms is not None
    assert windows.rows is not None
    block, rows, marks = windows.histograms, windows.rows, _resets_of(windows)
    low = edges.first + 1
    skipped = spanned & marks[np.minimum(low, len(marks) - 1)]
    previous = left.put(skipped, block.take(rows[np.minimum(low, len(rows) - 1)]))
    low = low + skipped
    length = edges.last - low
    for k in range(int(length.max(initial=-1)) + 1):
        inner = np.flatnonzero((k < length) & books.good)
        final = np.flatnonzero((k == length) & books.good)
        at = np.concatenate([inner, final])
        if not len(at):
            continue
        now = Histograms.joined([block.take(rows[low[inner] + k]), right.take(final)])
        is_reset = detect_resets(now, previous.take(at))
        lost = at[is_reset]
        if len(lost):
            outcome = combine(found.take(lost), previous.take(lost))
            found = _replaced(found, lost, books.took(lost, outcome, "addition"))
        previous = _replaced(previous, at, now)
    return found


FUNCTIONS: dict[str, Callable[[Request], Vector]] = {
    "delta": extrapolated,
    "idelta": instant,
    "increase": extrapolated,
    "irate": instant,
    "rate": extrapolated,
}
