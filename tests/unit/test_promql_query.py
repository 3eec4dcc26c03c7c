"""What a query asks of a storage before anything is fetched, and within which bounds it works."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from ingest.errors import PromqlError, PromqlFailure, PromqlInvalid, PromqlLimit
from ingest.promql.evaluate import Options, Query
from ingest.promql.histograms import NOT_RESET, RESET, UNKNOWN, Histograms
from ingest.promql.parser import ALL_FEATURES, Features
from ingest.promql.storage import Samples, Selection
from ingest.promql.values import STALE
from tests.support.memory_storage import MemoryStorage
from tests.support.promqltest import MemoryRunner

MINUTE = 60_000
ALL = Options(features=ALL_FEATURES)


def spans(query: str, start: int, end: int | None = None, step: int = 0) -> list[tuple[int, int]]:
    selections = Query(query, start, end, step, ALL).selections
    return [(selection.from_ms, selection.to_ms) for selection in selections]


SPANS = [
    ("m", [(1_000_000 - 299_999, 1_000_000)]),
    ("m offset 1m", [(940_000 - 299_999, 940_000)]),
    ("m @ 500", [(500_000 - 299_999, 500_000)]),
    ("m[5m]", [(1_000_000 - 299_999, 1_000_000)]),
    ("rate(m[1m] offset -1m)", [(1_060_000 - 59_999, 1_060_000)]),
    ("rate(m[1m] anchored)", [(1_000_000 - 359_999, 1_000_000)]),
    ("rate(m[1m] smoothed)", [(1_000_000 - 359_999, 1_300_000)]),
    ("m smoothed", [(1_000_000 - 299_999, 1_300_000)]),
    ("max_over_time(m[10m:1m])", [(420_000 - 299_999, 1_000_000)]),
    ("max_over_time(rate(m[1m])[10m:1m] @ 700)", [(120_000 - 59_999, 700_000)]),
    ("a + b", [(700_001, 1_000_000), (700_001, 1_000_000)]),
    ("a / on () a", [(700_001, 1_000_000)]),
    ("1 + time()", []),
    ("info(m @ 60)", [(60_000 - 299_999, 60_000), (60_000 - 299_999, 60_000)]),
]


@pytest.mark.parametrize(("query", "expected"), SPANS)
def test_every_selector_is_known_with_its_span(query: str, expected: list[tuple[int, int]]) -> None:
    assert spans(query, 1_000_000) == expected


def test_a_range_needs_what_all_its_steps_need() -> None:
    assert spans("m", 0, 600_000, 30_000) == [(-299_999, 600_000)]
    assert spans("m @ end()", 0, 600_000, 30_000) == [(300_001, 600_000)]
    assert spans("m offset step()", 0, 600_000, 30_000) == [(-329_999, 570_000)]


def test_hints_say_what_a_storage_may_leave_out() -> None:
    (one,) = Query("sum by (a, b) (m)", 0, options=ALL).selections
    assert (one.newest, one.function, one.grouping, one.by) == (True, "sum", ("a", "b"), True)
    (one,) = Query("sum(rate(m[5m]))", 0, 60_000, 15_000, ALL).selections
    assert (one.newest, one.function, one.range_ms, one.step_ms) == (False, "rate", 300_000, 15_000)
    (one,) = Query("histogram_count(rate(m[5m]))", 0, options=ALL).selections
    assert one.counts_only
    (one,) = Query("histogram_quantile(0.5, rate(m[5m]))", 0, options=ALL).selections
    assert not one.counts_only


def test_what_cannot_be_asked_over_a_range() -> None:
    for query in ("m[5m]", '"text"'):
        with pytest.raises(PromqlInvalid, match="invalid expression type") as error:
            Query(query, 0, 60_000, 15_000)
        assert error.value.error_type == "bad_data"


@pytest.mark.parametrize("query", ["m[1m - 1m]", "m[1m / (step() - step())]", "m[2^99999]"])
def test_durations_that_come_to_nothing(query: str) -> None:
    with pytest.raises(PromqlInvalid):
        Query(query, 0, 60_000, 15_000, ALL)


def counters(series: int, samples: int) -> Samples:
    times = np.tile(np.arange(samples, dtype=np.int64) * 15_000, series)
    values = np.tile(np.arange(samples, dtype=float), series)
    labels = [{"__name__": "m", "i": f"{at:06}"} for at in range(series)]
    return Samples(labels, np.arange(series + 1) * samples, times, values)


HEAVY = [
    "m",
    "rate(m[5m])",
    "m + m",
    "quantile_over_time(0.5, m[5m])",
    "count_over_time(m[10y:1ms])",
    "sum_over_time(m[5m:10ms])",
    'count_values("v", m)',
]


@pytest.mark.parametrize("query", HEAVY)
def test_what_would_hold_too_much_is_refused(query: str) -> None:
    options = Options(max_samples=100_000, features=ALL_FEATURES)
    asked = Query(query, 0, 250 * 15_000, 15_000, options)
    with pytest.raises(PromqlLimit, match="too many samples into memory") as error:
        asked.evaluate([counters(300, 250)] * len(asked.selections))
    assert error.value.error_type == "execution"


@pytest.mark.parametrize("query", ["sum(rate(m[5m]))", "avg(avg_over_time(m[1m]))", "m > 3"])
def test_memory_stays_within_what_the_limit_says(query: str) -> None:
    """24 bytes for each of `max_samples`, and something for numpy's temporaries."""
    samples = counters(2000, 300)
    options = Options(max_samples=4_000_000)
    asked = Query(query, 0, 300 * 15_000, 15_000, options)
    tracemalloc.start()
    try:
        asked.evaluate([samples])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * options.max_samples + 64 * 2**20


def test_a_query_can_be_ended_between_its_nodes() -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise TimeoutError

    asked = Query("sum(m) + sum(m) + sum(m)", 0)
    with pytest.raises(TimeoutError):
        asked.evaluate([counters(1, 1)], check)


def test_features_are_off_unless_asked_for() -> None:
    storage = MemoryStorage()
    storage.add({"__name__": "m", "a": "1"}, [0, MINUTE], [1.0, 2.0])
    now = Query("rate(m[2m])", MINUTE).run(storage)
    assert now.samples.labels == [{"a": "1"}]
    assert now.infos == [
        "PromQL info: metric might not be a counter, name does not end in "
        '_total/_sum/_count/_bucket: "m" (1:6)'
    ]
    storage.add({"__name__": "n", "a": "1"}, [0, MINUTE], [1.0, 2.0])
    with pytest.raises(PromqlFailure, match="same labelset"):
        Query('rate({a="1"}[2m])', MINUTE).run(storage)
    delayed = Options(features=Features(delayed_name_removal=True))
    by_name = Query('sum by (__name__) (rate({a="1"}[2m]))', MINUTE, options=delayed)
    with pytest.raises(PromqlError):
        by_name.run(storage)  # the names go at the end, and two series become one


def test_series_of_any_order_and_equal_times() -> None:
    storage = MemoryStorage()
    storage.add({"b": "2", "__name__": "m", "a": "1", "empty": ""}, [0, MINUTE], [1.0, 2.0])
    storage.add({"__name__": "m", "a": "1", "b": "2"}, [MINUTE, 2 * MINUTE], [9.0, 3.0])
    found = Query("m[10m]", 2 * MINUTE).run(storage).samples
    assert found.labels == [{"__name__": "m", "a": "1", "b": "2"}]
    assert list(found.values) == [1.0, 2.0, 3.0]


def test_stale_markers_are_told_by_their_bits() -> None:
    storage = MemoryStorage()
    storage.add({"__name__": "m"}, [0, 1, 2], [1.0, float("nan"), float(STALE)])
    assert np.isnan(Query("m", 1).run(storage).samples.values).tolist() == [True]
    assert Query("m", 2).run(storage).samples.labels == []
    assert len(Query("m[1m]", 2).run(storage).samples.times) == 2


def test_hints_of_resets_are_derived_from_neighbours() -> None:
    rows = [{"count": count, "positive": {0: count}} for count in (1, 3, 2, 4)]
    samples = Samples(
        [{"__name__": "a"}, {"__name__": "b"}],
        np.array([0, 4, 5]),
        np.array([0, 1, 2, 3, 0]),
        np.zeros(5),
        Histograms.build([*rows, {"count": 9, "positive": {0: 9}}]),
        np.arange(5),
    )
    hinted = samples.with_hints().histograms
    assert hinted is not None
    assert hinted.hint.tolist() == [UNKNOWN, NOT_RESET, UNKNOWN, NOT_RESET, UNKNOWN]
    for_counts = samples.with_hints(counts_only=True).histograms
    assert for_counts is not None
    assert for_counts.hint.tolist() == [UNKNOWN, NOT_RESET, RESET, NOT_RESET, UNKNOWN]


def test_buckets_are_listed_as_the_api_shows_them() -> None:
    block = Histograms.build(
        [
            {
                "count": 7,
                "zero_count": 1,
                "zero_threshold": 0.5,
                "positive": {1: 2, 2: 0, 3: 1},
                "negative": {1: 3},
            },
            {"schema": -53, "count": 3, "custom_bounds": [1.0, 2.0], "positive": {0: 1, 2: 2}},
        ]
    )
    assert block.buckets(0) == [
        (1, -2.0, -1.0, 3.0),
        (3, -0.5, 0.5, 1.0),
        (0, 1.0, 2.0, 2.0),
        (0, 4.0, 8.0, 1.0),
    ]
    assert block.buckets(1) == [(3, -np.inf, 1.0, 1.0), (0, 2.0, np.inf, 2.0)]
    assert block.text(0) == "{count:7, sum:0, [-2,-1):3, [-0.5,0.5]:1, (1,2]:2, (4,8]:1}"


def test_warnings_are_ten_and_how_many_more() -> None:
    runner = MemoryRunner(Features())
    for at in range(15):
        runner.storage.add({"__name__": f"m{at:02}"}, [0, MINUTE], [0.0, 1.0])
    query = " or ".join(f"rate(m{at:02}[2m])" for at in range(15))
    infos = runner.ask(query, MINUTE, None, 0).infos
    assert len(infos) == 11
    assert infos[-1] == "5 more info annotations omitted"


def test_a_selection_is_known_by_what_it_asks() -> None:
    one, two = (
        Query(query, 0, options=ALL).selections[0] for query in ('m{a="1",b="2"}', 'm{b="2",a="1"}')
    )
    assert one.identity == two.identity
    assert isinstance(one, Selection)


EXTREME = [
    " + ".join(["m"] * 149),
    "abs(" * 140 + "m" + ")" * 140,
    "(" * 145 + "m" + ")" * 145,
    "-" * 140 + "m",
    "m @ 9e18",
    "m @ -9e18",
    "m @ 9e18 smoothed",
    "m offset 290y",
    "rate(m[290y] offset -290y)",
    "sum_over_time(m[290y:1y])",
    "year(vector(Inf)) + minute(vector(-1e18))",
    "quantile_over_time(1e300, m[5m])",
    'label_replace(m, "x", "$99999999999 ${none} $", "a", "(.)")',
]


@pytest.mark.parametrize("query", EXTREME)
@pytest.mark.parametrize("ranged", [False, True])
def test_what_is_extreme_is_answered_too(query: str, ranged: bool) -> None:
    storage = MemoryStorage()
    storage.add({"__name__": "m", "a": "1"}, range(0, 600_000, 15_000), map(float, range(40)))
    end, step = (600_000, 15_000) if ranged else (None, 0)
    assert Query(query, 300_000, end, step, ALL).run(storage).type in ("vector", "matrix")


@pytest.mark.parametrize("spread", ["even", "wide", "nan"])
def test_long_windows_are_summed_as_exactly_as_short_ones(spread: str) -> None:
    """Windows above a thousand samples: differences of running sums, unless sizes lie too far apart
    for that or something is no number."""
    random = np.random.default_rng(7)
    values = random.normal(1000, 300, 6000)
    if spread == "wide":
        values[1000] = 1e300
    if spread == "nan":
        values[5000] = np.nan
    storage = MemoryStorage()
    storage.add({"__name__": "m"}, range(0, 6_000_000, 1000), values.tolist())
    for function, count in (("sum_over_time", 1), ("avg_over_time", 4000)):
        query = Query(f"{function}(m[4000s])", 4_500_000, 5_999_000, 499_000, ALL)
        samples = query.run(storage).samples
        for time, found in zip(samples.times, samples.values, strict=True):
            last = int(time) // 1000 + 1
            expected = math.fsum(values[last - 4000 : last]) / count
            assert found == pytest.approx(expected, rel=1e-15, nan_ok=True)


def test_what_takes_long_by_itself_is_asked_meanwhile() -> None:
    """One function over large windows: it can be ended before it has ended."""
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1

    for function, least in (("quantile_over_time(0.5, ", 10), ("mad_over_time(", 10)):
        calls = 0
        query = Query(f"{function}vector(1)[3h:1s])", 0, 3_000_000, 1000, ALL)
        query.evaluate([], check)
        assert calls >= least
