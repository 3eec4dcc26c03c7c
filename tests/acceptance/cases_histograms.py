"""Native histograms: those that are stored as sent, those that are reduced, the refused ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ingest.wire.pb import remote_write_v2_pb2 as v2
from tests.acceptance.cases import Case
from tests.acceptance.cases_data import NOW, STALE
from tests.support.messages import OWN, Sent, sent_series

Spans = Sequence[tuple[int, int]]
CUSTOM = -53
LARGEST = 2**64 - 1


def spans(*each: tuple[int, int]) -> list[v2.BucketSpan]:
    """Spans of (offset, length)."""
    return [v2.BucketSpan(offset=offset, length=length) for offset, length in each]


def integers(**changes: Any) -> v2.Histogram:
    """An integer histogram in order, with a zero bucket and both sides; `changes` win."""
    fields: dict[str, Any] = {
        "count_int": 10,
        "sum": 12.5,
        "schema": 3,
        "zero_threshold": 1e-128,
        "zero_count_int": 2,
        "positive_spans": spans((-1, 1), (4, 1)),
        "positive_deltas": [1, 2],
        "negative_spans": spans((2, 2)),
        "negative_deltas": [3, -2],
        "timestamp": NOW,
    }
    return v2.Histogram(**(fields | changes))


def floats(**changes: Any) -> v2.Histogram:
    """A float histogram in order; `changes` win."""
    fields: dict[str, Any] = {
        "count_float": 4.5,
        "sum": -1.25,
        "schema": -4,
        "zero_threshold": 0.5,
        "zero_count_float": 1.5,
        "positive_spans": spans((0, 2)),
        "positive_counts": [0.25, 1.75],
        "negative_spans": spans((-3, 1)),
        "negative_counts": [1.0],
        "timestamp": NOW,
    }
    return v2.Histogram(**(fields | changes))


def custom(**changes: Any) -> v2.Histogram:
    """A histogram with custom buckets in order; `changes` win."""
    fields: dict[str, Any] = {
        "count_int": 6,
        "sum": 30.0,
        "schema": CUSTOM,
        "positive_spans": spans((0, 1), (1, 2)),
        "positive_deltas": [1, 1, 1],
        "custom_values": [-1.0, 0.0, 2.5],
        "timestamp": NOW,
    }
    return v2.Histogram(**(fields | changes))


def only(count: int, **changes: Any) -> v2.Histogram:
    """An integer histogram of one bucket."""
    return v2.Histogram(
        count_int=count,
        positive_spans=spans((0, 1)),
        positive_deltas=[count],
        timestamp=NOW,
        **changes,
    )


def _of(*histograms: v2.Histogram) -> Sent:
    return Sent(histograms=histograms)


def _run(schema: int, index: int, *counts: int) -> v2.Histogram:
    """Buckets in a row from `index` on."""
    return v2.Histogram(
        schema=schema,
        count_int=sum(counts),
        positive_spans=spans((index, len(counts))),
        positive_deltas=[after - before for before, after in pairwise([0, *counts])],
        timestamp=NOW,
    )


TAKEN = [
    Case("An integer histogram: deltas", [_of(integers())]),
    Case("A float histogram: absolute counts", [_of(floats())]),
    Case("Custom buckets, integers", [_of(custom())]),
    Case(
        "Custom buckets, floats",
        [
            _of(
                v2.Histogram(
                    count_float=1.5,
                    schema=CUSTOM,
                    positive_spans=spans((0, 2)),
                    positive_counts=[0.5, 1.0],
                    custom_values=[1.0],
                    timestamp=NOW,
                )
            )
        ],
    ),
    Case("Custom buckets: one beyond the last bound", [_of(only(1, schema=CUSTOM))]),
    *[Case(f"Schema {schema} is kept", [_of(integers(schema=schema))]) for schema in range(-4, 9)],
    Case("An empty histogram", [_of(v2.Histogram(count_int=0, timestamp=NOW))]),
    Case("A histogram of observations that are NaN", [_of(integers(count_int=12, sum=math.nan))]),
    Case("A sum that is infinite", [_of(integers(sum=-math.inf))]),
    *[Case(f"Reset hint {hint}", [_of(integers(reset_hint=hint))]) for hint in range(4)],
    *[
        Case(f"A count of {count} is exact", [_of(only(count, zero_count_int=0))])
        for count in (2**53, 2**53 + 1, 2**63 - 1)
    ],
    Case(
        "A count of 2^64-1 is exact",
        [_of(integers(count_int=LARGEST, zero_count_int=LARGEST - 8, sum=math.nan))],
    ),
    Case(
        "Empty buckets inside a span, and spans of no length",
        [
            _of(
                integers(
                    count_int=6,
                    positive_spans=spans((0, 0), (2, 3), (0, 0), (0, 1)),
                    positive_deltas=[1, -1, 2, -2],
                    negative_spans=[],
                    negative_deltas=[],
                    zero_count_int=3,
                )
            )
        ],
    ),
    Case("Several histograms of one series", [_of(integers(), floats(timestamp=NOW + 1))]),
    Case(
        "Samples and histograms are separate TimeSeries", [sent_series((NOW, 1.0)), _of(integers())]
    ),
    Case(
        "Samples and histograms in one TimeSeries are taken too",
        [Sent(samples=[(NOW, 1.0)], histograms=[integers()])],
    ),
    Case(
        "The first of two histograms with one key stays, and both count as written",
        [_of(integers(), floats())],
        written=(0, 2, 0),
        stored=[_of(integers())],
    ),
]
"""Requests that are stored as they are."""

REDUCED = [
    Case(
        "Schema 9 is reduced to 8",
        [_of(_run(9, -3, 1, 2, 2, 2, 2, 1))],
        stored=[_of(_run(8, -1, 3, 4, 3))],
    ),
    Case(
        "Schema 52 is reduced to 8",
        [
            _of(
                v2.Histogram(
                    schema=52,
                    count_int=3,
                    positive_spans=spans((1, 1), (2**30, 1)),
                    positive_deltas=[1, 1],
                    timestamp=NOW,
                )
            )
        ],
        stored=[_of(_run(8, 1, 3))],
    ),
    Case(
        "A stale histogram is a marker and nothing else",
        [
            _of(v2.Histogram(sum=STALE, timestamp=NOW)),
            Sent((("__name__", OWN), ("i", "1")), histograms=[integers(sum=STALE, schema=12)]),
            Sent(
                (("__name__", OWN), ("i", "2")),
                histograms=[floats(sum=STALE, zero_threshold=math.nan, count_float=-1.0)],
            ),
            Sent(
                (("__name__", OWN), ("i", "3")),
                histograms=[custom(sum=STALE, custom_values=[2.0, 1.0])],
            ),
        ],
        stored=[
            _of(v2.Histogram(count_int=0, sum=STALE, timestamp=NOW)),
            Sent(
                (("__name__", OWN), ("i", "1")),
                histograms=[v2.Histogram(schema=8, sum=STALE, timestamp=NOW)],
            ),
            Sent(
                (("__name__", OWN), ("i", "2")),
                histograms=[v2.Histogram(schema=-4, count_float=0, sum=STALE, timestamp=NOW)],
            ),
            Sent(
                (("__name__", OWN), ("i", "3")),
                histograms=[v2.Histogram(schema=CUSTOM, sum=STALE, timestamp=NOW)],
            ),
        ],
    ),
    Case(
        "An unknown reset hint is none",
        [_of(v2.Histogram(count_int=0, reset_hint=7, timestamp=NOW))],  # type: ignore[arg-type]
        stored=[_of(v2.Histogram(count_int=0, timestamp=NOW))],
    ),
]
"""Requests that become something else."""

INVALID = {
    "schema 53": integers(schema=53),
    "schema -5": integers(schema=-5),
    "schema -52": integers(schema=-52),
    "a span with a negative offset after the first": integers(
        positive_spans=spans((0, 1), (-1, 1))
    ),
    "more deltas than the spans have buckets": integers(positive_deltas=[1, 2, 0]),
    "fewer deltas than the spans have buckets": integers(negative_deltas=[4]),
    "counts that no float histogram's spans have": floats(positive_counts=[0.25]),
    "a bucket with fewer than no observations": integers(positive_deltas=[5, -6]),
    "a float bucket below zero": floats(positive_counts=[-1.0, 3.0]),
    "a float bucket that is NaN": floats(negative_counts=[math.nan]),
    "a float count below zero": floats(count_float=-1.0),
    "a float count that is NaN": floats(count_float=math.nan),
    "a float zero count below zero": floats(zero_count_float=-1.0),
    "a zero threshold below zero": integers(zero_threshold=-1.0),
    "a zero threshold that is NaN": integers(zero_threshold=math.nan),
    "more in its buckets than its count": integers(count_int=9),
    "fewer in its buckets than its count": integers(count_int=11),
    "more in its buckets than its count, though some are NaN": integers(count_int=9, sum=math.nan),
    "integer deltas beside a float count": floats(positive_deltas=[1, 2]),
    "float counts beside an integer count": integers(negative_counts=[1.0]),
    "an integer zero count beside a float count": floats(zero_count_int=1),
    "a float zero count beside an integer count": integers(zero_count_float=1.0),
    "custom bounds of an exponential schema": integers(custom_values=[1.0]),
    "custom bounds that do not rise": custom(custom_values=[0.0, 2.0, 2.0]),
    "a custom bound of +Inf": custom(custom_values=[0.0, 1.0, math.inf]),
    "a custom bound that is NaN": custom(custom_values=[0.0, math.nan, 1.0]),
    "a custom bucket beyond the bounds": custom(custom_values=[0.0, 1.0]),
    "a custom bucket before the first": custom(positive_spans=spans((-1, 1), (1, 2))),
    "custom bounds and a zero bucket": custom(count_int=7, zero_count_int=1),
    "custom bounds and a zero threshold": custom(zero_threshold=0.1),
    "custom bounds and negative buckets": custom(
        count_int=7, negative_spans=spans((0, 1)), negative_deltas=[1]
    ),
    "a bucket index beyond 32 bits": integers(positive_spans=spans((2**31 - 2, 1), (4, 1))),
    "spans that claim four billion buckets": integers(positive_spans=spans((0, 2**32 - 1))),
    "no timestamp": integers(timestamp=0),
    "a timestamp a day ahead": integers(timestamp=NOW + 86_400_000),
}
"""By what is wrong with it."""

REFUSED = [
    Case(
        f"Receivers MUST answer 400 to {wrong}",
        [sent_series((NOW, 1.0)), _of(histogram, floats(timestamp=NOW - 1))],
        400,
        (1, 1, 0),
        "1 of 2 histograms refused",
        [sent_series((NOW, 1.0)), _of(floats(timestamp=NOW - 1))],
    )
    for wrong, histogram in INVALID.items()
] + [
    Case(
        "Histograms of an invalid series are not written",
        [sent_series((NOW, 1.0)), Sent((("job", OWN),), histograms=[integers(), floats()])],
        400,
        (1, 0, 0),
        "0 of 1 samples, 2 of 2 histograms refused",
        [sent_series((NOW, 1.0))],
    )
]
"""Requests of which one histogram is refused, and nothing else."""

CASES = [*TAKEN, *REDUCED, *REFUSED]
