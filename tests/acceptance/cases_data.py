"""Samples, labels, exemplars and metadata: what both versions say, in the words of both."""

from __future__ import annotations

import math
import time

from tests.acceptance.cases import Case
from tests.support.messages import OWN, Sent, SentExemplar, SentMetadata, double, sent_series

NOW = time.time_ns() // 1_000_000
MINUTE, DAY = 60_000, 86_400_000
STALE = double(0x7FF0000000000002)
NANS = [0x7FF8000000000001, 0x7FF0000000000002, 0x7FF0000000000003, 0xFFF8000000000000, 2**64 - 1]
VALUES = [0.0, -0.0, 0.1, 5e-324, 1e308, -1e308, 2.0**53 + 2, math.inf, -math.inf]
ONE = ((NOW, 1.0),)
GOOD = sent_series((NOW, 1.0), job="good")


def _labelled(*labels: tuple[str, str]) -> Sent:
    return Sent(labels, ONE)


def _with_exemplars(*exemplars: SentExemplar) -> Sent:
    return Sent(samples=ONE, exemplars=exemplars)


TAKEN = [
    Case(
        "Values MUST be float64",
        [sent_series((NOW, value), i=str(i)) for i, value in enumerate(VALUES)],
    ),
    Case(
        "Stale markers MUST be signalled by 0x7ff0000000000002, and every other NaN is one",
        [sent_series((NOW, double(bits)), i=str(i)) for i, bits in enumerate(NANS)],
    ),
    Case(
        "Timestamps MUST be int64 counted as milliseconds",
        [sent_series((NOW - DAY, 1.0), (NOW - 1, 2.0), (NOW, 3.0), (NOW + 9 * MINUTE, 4.0))],
    ),
    Case("Samples of one series MAY come out of order", [sent_series((NOW, 1.0), (NOW - 1, 2.0))]),
    Case(
        "Several series in a single request",
        [sent_series((NOW, float(i)), i=str(i)) for i in range(300)],
    ),
    Case(
        "Several TimeSeries with the same labels",
        [sent_series((NOW, 1.0), a="b"), sent_series((NOW + 1, 2.0), a="b")],
    ),
    Case(
        "The first of two samples with one key stays, and both count as written",
        [sent_series((NOW, 1.0)), sent_series((NOW, 2.0))],
        written=(2, 0, 0),
        stored=[sent_series((NOW, 1.0))],
    ),
    Case(
        "MUST have label names sorted: a receiver takes any order",
        [_labelled(("z", "1"), ("__name__", OWN), ("a", "2"))],
    ),
    Case(
        "MUST NOT contain empty label values: they are no labels",
        [_labelled(("__name__", OWN), ("a", ""), ("b", "c"))],
    ),
    Case(
        "Label values MAY be any sequence of UTF-8",
        [sent_series((NOW, 1.0), a="\x01\t\n\\\"'{},€温度🌡\x7f", b="ab c")],
    ),
    Case(
        "Metric and label names MUST be any sequence of UTF-8",
        [Sent((("__name__", f"{OWN} 温度/°C"), ("ünï.cödé", "1"), ('9 a"b\\', "2")), ONE)],
    ),
    Case("Names beginning with __ are reserved and taken", [sent_series((NOW, 1.0), __a__="b")]),
    Case(
        "Metric names may differ by case",
        [
            sent_series((NOW, 1.0), name=f"{OWN}_a"),
            sent_series((NOW, 2.0), name=f"{OWN}_A"),
        ],
    ),
    Case("Long label values", [sent_series((NOW, 1.0), a="x" * 100_000)]),
    Case(
        "Exemplars MAY contain labels, and SHOULD use trace_id",
        [
            _with_exemplars(
                SentExemplar(NOW, 0.5, (("trace_id", "abc"), ("span_id", "ü"))),
                SentExemplar(NOW, 0.5),
                SentExemplar(NOW + 1, STALE),
                SentExemplar(NOW + 1, -0.0, (("a", ""), ("b", "c"))),
            )
        ],
    ),
    Case(
        "An exemplar sent twice is stored once, and both count as written",
        [_with_exemplars(*[SentExemplar(NOW, 1.0, (("trace_id", "a"),))] * 2)],
        written=(1, 0, 2),
        stored=[_with_exemplars(SentExemplar(NOW, 1.0, (("trace_id", "a"),)))],
    ),
    Case(
        "A TimeSeries with exemplars only, as Prometheus sends them",
        [GOOD, Sent(exemplars=[SentExemplar(NOW, 1.0, (("trace_id", "a"),))])],
    ),
    *[
        Case(
            f"Metadata of type {kind} SHOULD be provided",
            [Sent((("__name__", f"{OWN}_{kind}"),), ONE, metadata=SentMetadata(kind, "a\nb", "s"))],
        )
        for kind in [*range(8), 99]
    ],
    Case(
        "Metadata without help, without unit, of any length",
        [
            Sent(
                (("__name__", f"{OWN}_{i}"),),
                ONE,
                metadata=SentMetadata(1, "h" * (i * 10_000), "u" * (i % 2)),
            )
            for i in range(4)
        ],
    ),
    Case(
        "Metadata that is the same for many series is stored once",
        [
            Sent((("__name__", OWN), ("i", str(i))), ONE, metadata=SentMetadata(2, "Help.", "m"))
            for i in range(5)
        ],
    ),
]
"""Requests that are stored as they are."""

REFUSED = [
    Case(
        "SHOULD contain a __name__ label",
        [_labelled(("job", OWN))],
        400,
        reason="__name__ is missing",
    ),
    Case(
        "MUST NOT contain an empty metric name",
        [_labelled(("__name__", ""), ("job", OWN))],
        400,
        reason="the metric name (label __name__) is empty",
    ),
    Case(
        "MUST NOT contain repeated label names",
        [_labelled(("__name__", OWN), ("a", "1"), ("a", "1"))],
        400,
        reason='label "a" is there twice',
    ),
    Case(
        "MUST NOT contain any empty label names",
        [_labelled(("__name__", OWN), ("", "1"))],
        400,
        reason="empty name",
    ),
    Case(
        "MUST NOT contain U+0000 in a label value",
        [sent_series((NOW, 1.0), a="x\0")],
        400,
        reason="U+0000",
    ),
    Case(
        "MUST NOT contain U+0000 in a label name",
        [_labelled(("__name__", OWN), ("a\0", "1"))],
        400,
        reason="U+0000",
    ),
    Case(
        "MUST NOT contain U+0000 in the metric name",
        [_labelled(("__name__", f"{OWN}\0"))],
        400,
        reason="U+0000",
    ),
    Case(
        "A metric name of more than 2000 bytes",
        [sent_series((NOW, 1.0), name=OWN + "é" * 1001)],
        400,
        reason="2000 bytes",
    ),
    Case(
        "A sample before 2000",
        [sent_series((946_684_799_999, 1.0), (NOW, 2.0))],
        400,
        (1, 0, 0),
        "1 of 2 samples refused",
        [sent_series((NOW, 2.0))],
    ),
    Case(
        "A sample more than ten minutes ahead",
        [sent_series((NOW, 1.0), (NOW + DAY, 2.0), (2**63 - 1, 3.0), (-(2**63), 4.0))],
        400,
        (1, 0, 0),
        "3 of 4 samples refused",
        [sent_series((NOW, 1.0))],
    ),
    Case(
        "MAY write valid samples within a request that contains invalid ones",
        [
            GOOD,
            _labelled(("job", OWN)),
            sent_series((NOW, 3.0), a="x\0"),
            sent_series((NOW, 4.0), b="c"),
        ],
        400,
        (2, 0, 0),
        "2 of 4 samples refused",
        [GOOD, sent_series((NOW, 4.0), b="c")],
    ),
    Case(
        "An exemplar MUST contain a timestamp",
        [_with_exemplars(SentExemplar(0, 1.0), SentExemplar(NOW, 2.0))],
        400,
        (1, 0, 1),
        "timestamp is missing",
        [_with_exemplars(SentExemplar(NOW, 2.0))],
    ),
    Case(
        "An exemplar out of time",
        [_with_exemplars(SentExemplar(1, 1.0), SentExemplar(NOW + DAY, 2.0))],
        400,
        (1, 0, 0),
        "2 of 2 exemplars",
        [Sent(samples=ONE)],
    ),
    Case(
        "An exemplar whose labels no database can store",
        [
            _with_exemplars(
                SentExemplar(NOW, 1.0, (("trace_id", "a\0b"),)),
                SentExemplar(NOW, 2.0, (("", "b"),)),
                SentExemplar(NOW, 3.0, (("a", "b"), ("a", "c"))),
                SentExemplar(NOW, 4.0, (("a", "b"),)),
            )
        ],
        400,
        (1, 0, 1),
        "3 of 4 exemplars",
        [_with_exemplars(SentExemplar(NOW, 4.0, (("a", "b"),)))],
    ),
    Case(
        "Exemplars of an invalid series are not written",
        [GOOD, Sent((("job", OWN),), ONE, exemplars=[SentExemplar(NOW, 1.0)])],
        400,
        (1, 0, 0),
        "1 of 2 samples, 1 of 1 exemplars refused",
        [GOOD],
    ),
    *[
        Case(
            f"U+0000 in the {field} costs the metadata, not the samples",
            [Sent(samples=ONE, metadata=SentMetadata(1, **{field: "a\0"}))],
            400,
            (1, 0, 0),
            "metadata",
            [Sent(samples=ONE)],
        )
        for field in ("help", "unit")
    ],
]
"""Requests with something in them that can never be stored."""

CASES = [*TAKEN, *REFUSED]
