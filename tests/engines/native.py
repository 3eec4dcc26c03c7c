"""Native histograms, put into a database, and what Prometheus would say of them without SQL."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from tests.engines.sql_api import Api, Sample

CUSTOM = -53
UNKNOWN, RESET, NO_RESET, GAUGE = range(4)
TINY = 2.0**-128
"""The zero threshold of Prometheus' own client libraries."""


@dataclass(frozen=True)
class Native:
    """One histogram, buckets by index; `observed` is a count that is not what they add up to."""

    time: datetime
    positive: Mapping[int, float] = field(default_factory=dict)
    negative: Mapping[int, float] = field(default_factory=dict)
    zero: float = 0
    schema: int = 0
    threshold: float = TINY
    bounds: Sequence[float] | None = None
    hint: int = UNKNOWN
    start: datetime | None = None
    sum: float = 1.0
    observed: float | None = None
    is_float: bool = False
    is_stale: bool = False
    exact_counts: Sequence[Decimal] | None = None

    @property
    def count(self) -> float:
        """All observations."""
        if self.observed is not None:
            return self.observed
        return self.zero + sum(self.positive.values()) + sum(self.negative.values())

    def row(self, series_id: int) -> tuple[object, ...]:
        """As the daemon copies it."""
        return (
            self.time, series_id, self.schema, self.is_float, self.is_stale,
            float(self.count), self.sum, self.threshold, float(self.zero),
            sorted(self.positive), [float(self.positive[i]) for i in sorted(self.positive)],
            sorted(self.negative), [float(self.negative[i]) for i in sorted(self.negative)],
            self.bounds, self.hint, self.start, self.exact_counts,
        )  # fmt: skip


async def store(
    api: Api, *series: Sequence[Native], name: str = "h", schema: str = "common", tenant_id: int = 1
) -> list[int]:
    """Commit some series of one metric by one COPY; their ids."""
    named = [
        Sample(one[0].time, name, schema=schema, tenant_id=tenant_id, labels={"n": str(n)})
        for n, one in enumerate(series)
    ]
    ids = await api.resolve({sample.identity: sample for sample in named})
    rows = [
        histogram.row(ids[sample.identity])
        for sample, histograms in zip(named, series, strict=True)
        for histogram in histograms
    ]
    await copy(api, "histogram", rows)
    return [ids[sample.identity] for sample in named]


async def copy(api: Api, store: str, rows: Sequence[tuple[object, ...]]) -> int:
    """COPY rows into a staging table the way a daemon does; how many were new."""
    times = [row[0] for row in rows]
    if api.database.engine == "postgres" and store != "metadata":
        ensure = "SELECT internal.ensure_partitions($1, $2, $3)"
        await api.connection.execute(ensure, store, min(times), max(times))
    async with api.connection.transaction():
        await api.connection.copy_records_to_table(
            store, schema_name="staging_internal", records=rows
        )
        return int(await api.connection.fetchval("SHOW promgres.new_rows"))


Term = tuple[int, Native]
"""A sign, and what it is the sign of."""


def terms_of(
    series: Iterable[Sequence[Native]],
    bucket_of: Callable[[datetime], datetime],
    since: datetime,
    until: datetime,
) -> dict[datetime, list[Term]]:
    """What came in during each bucket: each histogram, less its base if it has one.

    What is added and taken away again is no part of it: its zero threshold does not matter.
    """
    terms: dict[datetime, list[Term]] = defaultdict(list)
    for one in series:
        real = [h for h in sorted(one, key=lambda h: h.time) if not h.is_stale]
        for before, h in pairwise([None, *real]):
            assert h is not None
            if not since <= h.time < until:
                continue
            bucket = bucket_of(h.time)
            if h.hint == GAUGE:
                terms[bucket].append((1, h))
            elif _has_no_base(before, h):
                if h.start is not None and h.start >= bucket:
                    terms[bucket].append((1, h))
            elif _is_reset(before, h):
                terms[bucket].append((1, h))
            elif (1, before) in terms[bucket]:
                terms[bucket][terms[bucket].index((1, before))] = (1, h)
            else:
                terms[bucket] += [(1, h), (-1, before)]
    return terms


def _has_no_base(before: Native | None, h: Native) -> bool:
    return before is None or before.hint == GAUGE or h.time - before.time > timedelta(days=7)


def _is_reset(before: Native, h: Native) -> bool:
    if h.hint == RESET or (h.start is not None and h.start > before.time):
        return True
    if h.count < before.count or h.zero < before.zero or h.threshold < before.threshold:
        return True
    if h.schema > before.schema or h.bounds != before.bounds:
        return True
    if h.start is not None and h.start == before.start:
        return False
    return any(
        count > after.get(index, 0)
        for old, after in ((before.positive, h.positive), (before.negative, h.negative))
        for index, count in _as_seen(old, before, h).items()
    )


def _as_seen(buckets: Mapping[int, float], before: Native, h: Native) -> dict[int, float]:
    """Buckets at the later schema, without those that its wider zero bucket holds."""
    widened = h.threshold > before.threshold
    seen: dict[int, float] = defaultdict(float)
    for index, count in buckets.items():
        if not (widened and bound(before.schema, index) <= h.threshold):
            seen[coarser(index, before.schema, h.schema)] += count
    return seen


def coarser(index: int, schema: int, to: int) -> int:
    """The bucket of a coarser schema that holds this one."""
    return index if schema == to else math.ceil(index / 2 ** (schema - to))


def bound(schema: int, index: int) -> float:
    """Upper bound of an exponential bucket."""
    return 2.0 ** (index * 2.0**-schema)


def quantile_of(q: float, terms: Sequence[Term]) -> float | None:
    """What Prometheus' histogram_quantile says of the sum of these; None is NaN."""
    is_custom = {h.schema == CUSTOM for _, h in terms}
    count = sum(sign * h.count for sign, h in terms)
    if is_custom == {True, False} or count <= 0:
        return None
    buckets = _custom(terms) if is_custom == {True} else _exponential(terms)
    rank, up_to = q * count, 0.0
    for lower, upper, n in buckets:
        up_to += n
        if up_to >= rank:
            return _interpolate(lower, upper, (rank - (up_to - n)) / n, is_custom == {True})
    return None


def _exponential(terms: Sequence[Term]) -> list[tuple[float, float, float]]:
    """Buckets with something in them, as (lower, upper, count), in ascending order."""
    schema = min(h.schema for _, h in terms)
    widest = max(h.threshold for _, h in terms)
    is_widened = any(h.threshold < widest for _, h in terms)
    threshold, zero = widest, sum(sign * h.zero for sign, h in terms)
    sides: list[dict[int, float]] = [defaultdict(float), defaultdict(float)]
    for sign, h in terms:
        for side, buckets in zip(sides, (h.negative, h.positive), strict=True):
            for index, n in buckets.items():
                place = coarser(index, h.schema, schema)
                if is_widened and bound(schema, place - 1) < widest:
                    zero += sign * n
                    threshold = max(threshold, bound(schema, place))
                else:
                    side[place] += sign * n
    negative, positive = ({i: n for i, n in side.items() if n > 0} for side in sides)
    low = 0.0 if positive and not negative else -threshold
    high = 0.0 if negative and not positive else threshold
    return [
        *((-bound(schema, i), -bound(schema, i - 1), negative[i]) for i in sorted(negative)[::-1]),
        *([(low, high, zero)] if zero > 0 else []),
        *((bound(schema, i - 1), bound(schema, i), positive[i]) for i in sorted(positive)),
    ]


def _custom(terms: Sequence[Term]) -> list[tuple[float, float, float]]:
    shared = sorted(set.intersection(*(set(h.bounds or ()) for _, h in terms)))
    uppers, merged = [*shared, math.inf], defaultdict(float)
    for sign, h in terms:
        for index, n in h.positive.items():
            upper = [*(h.bounds or ()), math.inf][index]
            merged[bisect_left(uppers, upper)] += sign * n
    lowers = [-math.inf, *shared]
    return [(lowers[i], uppers[i], merged[i]) for i in sorted(merged) if merged[i] > 0]


def _interpolate(lower: float, upper: float, fraction: float, is_custom: bool) -> float:
    if is_custom and lower == -math.inf:
        if upper <= 0:
            return upper
        lower = 0.0
    elif is_custom and upper == math.inf:
        return lower
    if is_custom or lower <= 0 <= upper:
        return lower + (upper - lower) * fraction
    return lower * (upper / lower) ** fraction
