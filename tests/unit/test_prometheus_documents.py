"""Documents of Prometheus' API."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import (
    Busy,
    KeyRefused,
    NotFound,
    PromqlFailure,
    PromqlSyntax,
    QueryRefused,
)
from ingest.prometheus import documents
from ingest.prometheus.documents import number_text, time_text, words_of
from ingest.promql.histograms import Histograms
from ingest.promql.storage import Samples


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (9.99e-7, "9.99e-07"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (123456789012345680.0, "123456789012345680"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_same_when_it_is_read(value: float) -> None:
    text = number_text(value)
    assert float(text) == value
    assert not text.endswith(".0")


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0"), (1500, "1.500"), (1_435_781_451_781, "1435781451.781"), (-1, "-0.001")],
)
def test_times(ms: int, text: str) -> None:
    assert time_text(ms) == text


def test_a_matrix_of_floats_and_histograms() -> None:
    block = Histograms.build([{"count": 3, "sum": 4.5, "positive": {1: 2, 2: 1}}])
    samples = Samples(
        [{"__name__": "a", "b": '"é\n'}, {}],
        np.array([0, 2, 3]),
        np.array([1000, 1500, 1000]),
        np.array([1.0, 0.0, math.nan]),
        block,
        np.array([-1, 0, -1]),
    )
    data = json.loads(documents.matrix(samples))
    assert data == {
        "resultType": "matrix",
        "result": [
            {
                "metric": {"__name__": "a", "b": '"é\n'},
                "values": [[1, "1"]],
                "histograms": [
                    [
                        1.5,
                        {
                            "count": "3",
                            "sum": "4.5",
                            "buckets": [[0, "1", "2", "2"], [0, "2", "4", "1"]],
                        },
                    ]
                ],
            },
            {"metric": {}, "values": [[1, "NaN"]]},
        ],
    }
    one = json.loads(documents.vector(samples.take([1])))
    assert one["result"] == [{"metric": {}, "value": [1, "NaN"]}]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.5, "1.5"), (1e22, "1" + 22 * "0"), (-2.5e-7, "-0.00000025"), (math.inf, "+Inf")],
)
def test_a_scalar_has_no_exponent(value: float, text: str) -> None:
    assert json.loads(documents.scalar(1500, value))["result"] == [1.5, text]


@pytest.mark.parametrize(
    ("count", "shown"), [(2, True), (0, False), (-2, False), (math.nan, False)]
)
def test_a_zero_bucket_is_shown_above_zero(count: float, shown: bool) -> None:
    block = Histograms.build([{"count": 1, "sum": 1, "zero_threshold": 0.5, "zero_count": count}])
    samples = Samples([{}], np.array([0, 1]), np.array([0]), np.zeros(1), block, np.array([0]))
    (series,) = json.loads(documents.vector(samples))["result"]
    assert ("buckets" in series["histogram"][1]) is shown


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PromqlSyntax("what", "ab\nc", 3), (400, "bad_data", "2:1: parse error: what")),
        (PromqlFailure("why"), (422, "execution", "why")),
        (KeyRefused("no", "missing"), (401, "unauthorized", "no")),
        (KeyRefused("no", "scope", 403), (403, "forbidden", "no")),
        (NotFound("404 page not found"), (404, "not_found", "404 page not found")),
        (Busy("later"), (503, "unavailable", "later")),
        (QueryRefused("secret", "XX000"), (500, "internal", "internal error")),
        (KeyError("secret"), (500, "internal", "internal error")),
    ],
)
def test_every_error_has_its_words(error: Exception, words: tuple[int, str, str]) -> None:
    assert words_of(error) == words


def test_notes_are_said_only_where_there_are_some() -> None:
    assert documents.success(b"1") == b'{"status":"success","data":1}'
    told = documents.success(b"1", ["w"], ["i"])
    assert json.loads(told) == {"status": "success", "data": 1, "warnings": ["w"], "infos": ["i"]}
