"""What `api.query_metric` has to say, counted sample by sample in Python."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from tests.engines.sql_api import Sample

DAY = timedelta(days=1)
INFINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}
LONGEST_STEP = timedelta(days=7)

Labels = frozenset[tuple[str, str]]
Number = Fraction | float
"""A finite number exactly, or an infinity."""


@dataclass(frozen=True)
class Question:
    """Arguments of `query_metric`; `step` is (months, seconds), one of them 0, or None."""

    metric: str
    match: Mapping[str, str]
    by: tuple[str, ...]
    aggregate: str
    step: tuple[int, int] | None
    start: datetime
    end: datetime
    fill: str
    zone: str

    @property
    def asked_step(self) -> tuple[int, int]:
        """With the default in place of none: a 200th of the period."""
        if self.step:
            return self.step
        exact = (self.end - self.start).total_seconds() / 200
        unit = next((each for each in (86400, 3600, 60) if exact > each), 1)
        return 0, unit * max(math.ceil(exact / unit), 1)


@dataclass(frozen=True)
class Row:
    """One row of the answer. `scale` is the size of what a rounded value was made of."""

    start: datetime
    labels: Labels
    value: Number | None
    scale: Fraction = Fraction(0)

    def is_said_by(self, text: str | None) -> bool:
        """Whether a value's text is this one: to the last digit; of a quotient, 15 digits."""
        if self.value is None or text is None:
            return (self.value is None) == (text is None)
        if isinstance(self.value, float):
            return text == INFINITE[self.value]
        if text in INFINITE.values():
            return False
        if text != "0" and "." in text and text.endswith("0"):
            return False
        return abs(Fraction(text) - self.value) <= self.scale / 10**15


def answer(question: Question, samples: Iterable[Sample]) -> list[Row]:
    """All rows, by bucket and labels."""
    edges = list(_edges(question))
    chosen = [each for each in samples if _matches(question, each)]
    by_group: dict[Labels, list[Sample]] = defaultdict(list)
    for each in chosen:
        labels = {"__name__": each.name, **each.labels}
        if "*" not in question.by:
            labels = {name: labels[name] for name in question.by if name in labels}
        by_group[frozenset(labels.items())].append(each)
    rows = []
    for labels, group in by_group.items():
        known = {
            slot: value
            for slot, value in _values(question, edges, group).items()
            if value[0] is not None
        }
        if known:
            rows += [
                Row(edges[slot], labels, *value)
                for slot, value in _filled(question.fill, edges, known)
            ]
    return sorted(rows, key=lambda row: (row.start, sorted(row.labels)))


def _matches(question: Question, sample: Sample) -> bool:
    labels = {"__name__": sample.name, **sample.labels}
    return (
        sample.name.lower() == question.metric.lower()
        and all(labels.get(name, "") == value for name, value in question.match.items())
        and not math.isnan(sample.value)
    )


def _edges(question: Question) -> Iterator[datetime]:
    """Starts of the buckets that the period meets, and the end of the last one, in UTC."""
    starts = _starts(question.asked_step, question.start, ZoneInfo(question.zone))
    previous = next(starts)
    for start in starts:
        if start > question.start:
            yield previous
        if previous >= question.end:
            return
        previous = start


def _starts(step: tuple[int, int], since: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Starts of all buckets from some time before `since` on, each once."""
    months, seconds = step
    origin = datetime(2000, 1, 3)
    local = since.astimezone(zone).replace(tzinfo=None)

    def instant(wall: datetime) -> datetime:
        return wall.replace(tzinfo=zone).astimezone(UTC)  # fold 0: the first of two

    last = datetime.min.replace(tzinfo=UTC)
    if months:
        number = ((local.year - 2000) * 12 + local.month - 1) // months * months - months
        while True:
            start = instant(datetime(2000 + number // 12, number % 12 + 1, 1))
            if start > last:
                yield (last := start)
            number += months
    width = timedelta(seconds=seconds)
    if seconds % 86400 == 0:
        wall = origin + ((local - DAY - origin) // width - 1) * width
        while True:
            start = instant(wall)
            if start > last:
                yield (last := start)
            wall += width
    if 86400 % seconds == 0:
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0) - DAY
        while True:
            start, following = instant(midnight), instant(midnight + DAY)
            while start < following:
                if start > last:
                    yield (last := start)
                start += width
            midnight += DAY
    first = instant(origin)
    start = first + ((since - first) // width - 1) * width
    while True:
        yield start
        start += width


def _values(
    question: Question, edges: Sequence[datetime], group: Sequence[Sample]
) -> dict[int, tuple[Number | None, Fraction]]:
    """The value of each slot, and its scale where it is rounded."""
    inside = [each for each in group if question.start <= each.time < question.end]
    slots: dict[int, list[Sample]] = defaultdict(list)
    for each in inside:
        slots[bisect.bisect_right(edges, each.time) - 1].append(each)
    if question.aggregate in ("rate", "increase"):
        return _increments(question, edges, group)
    return {slot: _of_bucket(question.aggregate, held) for slot, held in slots.items()}


def _of_bucket(aggregate: str, held: Sequence[Sample]) -> tuple[Number | None, Fraction]:
    exact = Fraction(0)
    numbers = [_number(each) for each in held]
    finite = [each for each in numbers if isinstance(each, Fraction)]
    preferred = [each for each in held if each.exact] or held  # exact values alone, if any
    match aggregate:
        case "count":
            return Fraction(len(held)), exact
        case "sum":
            return (sum(finite, Fraction(0)), exact) if finite else (None, exact)
        case "min":
            return min(_number(each) for each in preferred), exact
        case "max":
            return max(_number(each) for each in preferred), exact
        case "last":
            return _number(max(preferred, key=lambda each: (each.time, each.identity))), exact
        case "avg":
            infinite = {each for each in numbers if isinstance(each, float)}
            if infinite:
                return (infinite.pop() if len(infinite) == 1 else None), exact
            mean = sum(finite, Fraction(0)) / len(finite)
            return mean, abs(mean)
    ordered = sorted(numbers)
    rank = Fraction(aggregate[1:]) / 100 * (len(ordered) - 1)
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    if low == high:
        return low, exact
    if isinstance(low, float) and isinstance(high, float):
        return None, exact
    if isinstance(low, float) or isinstance(high, float):
        return (low if isinstance(low, float) else high), exact
    return low + (high - low) * (rank - math.floor(rank)), exact


def _increments(
    question: Question, edges: Sequence[datetime], group: Sequence[Sample]
) -> dict[int, tuple[Number | None, Fraction]]:
    lines: dict[object, list[Sample]] = defaultdict(list)
    for each in group:
        if isinstance(_number(each), Fraction):
            lines[each.target, each.name, frozenset(each.labels.items())].append(each)
    totals: dict[int, Fraction] = {}
    for line in lines.values():
        before: Sample | None = None
        for each in sorted(line, key=lambda each: each.time):
            gained = _gained(before, each)
            if gained is not None and question.start <= each.time < question.end:
                slot = bisect.bisect_right(edges, each.time) - 1
                totals[slot] = totals.get(slot, Fraction(0)) + gained
            before = each
    if question.aggregate == "increase":
        return {slot: (total, Fraction(0)) for slot, total in totals.items()}
    rates = {}
    for slot, total in totals.items():
        length = min(edges[slot + 1], question.end) - max(edges[slot], question.start)
        rate = total / Fraction(Decimal(str(length / timedelta(microseconds=1)))) * 10**6
        rates[slot] = (rate, abs(rate))
    return rates


def _gained(before: Sample | None, each: Sample) -> Fraction | None:
    value = _finite(each)
    if each.target == "cumsum":
        return value
    if before is None or each.time - before.time > LONGEST_STEP:
        return None
    return value if value < _finite(before) else value - _finite(before)


def _filled(
    fill: str, edges: Sequence[datetime], known: Mapping[int, tuple[Number | None, Fraction]]
) -> Iterator[tuple[int, tuple[Number | None, Fraction]]]:
    if fill == "none":
        yield from known.items()
        return
    slots = sorted(known)
    for slot in range(len(edges) - 1):
        nothing = (None, Fraction(0))
        before = next((known[each] for each in reversed(slots) if each <= slot), nothing)
        after = next((known[each] for each in slots if each >= slot), nothing)
        if slot in known:
            yield slot, known[slot]
        elif fill == "previous":
            yield slot, before
        elif fill == "linear" and all(isinstance(each[0], Fraction) for each in (before, after)):
            low = next(each for each in reversed(slots) if each <= slot)
            high = next(each for each in slots if each >= slot)
            share = Fraction(
                int((edges[slot] - edges[low]).total_seconds()),
                int((edges[high] - edges[low]).total_seconds()),
            )
            first, second = _fraction(before[0]), _fraction(after[0])
            yield slot, (first + (second - first) * share, max(abs(first), abs(second)))
        else:
            yield slot, nothing


def _number(sample: Sample) -> Number:
    """What a sample counts as."""
    if sample.exact:
        return Fraction(sample.exact)
    return Fraction(repr(sample.value)) if math.isfinite(sample.value) else sample.value


def _finite(sample: Sample) -> Fraction:
    return _fraction(_number(sample))


def _fraction(number: Number | None) -> Fraction:
    assert isinstance(number, Fraction)
    return number
