"""What native histograms of a period say: worked out by hand, and against a reference in Python."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.native import (
    CUSTOM,
    GAUGE,
    NO_RESET,
    RESET,
    Native,
    quantile_of,
    store,
    terms_of,
)
from tests.engines.sql_api import Api
from tests.support.databases import Database, blocking, connect

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
QUANTILE = "histogram_quantile($4, 'h', 'common', $1::text::interval, $2, $3)"
COUNT = "histogram_count('h', 'common', $1::text::interval, $2, $3)"
SUM = "histogram_sum('h', 'common', $1::text::interval, $2, $3)"
BASE = Native(MONDAY - SECOND)


async def quantiles(api: Api, *wanted: float, width: str = "1 hour") -> list[float | None]:
    """Quantiles of the one bucket of the day that has any."""
    found = []
    for q in wanted:
        values = await api.values(QUANTILE, width, MONDAY, MONDAY + DAY, q)
        assert len(values) <= 1
        found.append(float(values[0]) if values else None)
    return found


async def counts(api: Api, width: str = "1 hour") -> list[tuple[datetime, str]]:
    """Counts of the day."""
    return await api.rows(COUNT, width, MONDAY, MONDAY + DAY)


async def test_a_quantile_lies_evenly_over_the_logarithm(api: Api) -> None:
    """Four observations in (1, 2], four in (4, 8]."""
    await store(api, [BASE, Native(MONDAY, {1: 4, 3: 4})])
    found = await quantiles(api, 0, 0.25, 0.5, 0.75, 1)
    assert found == pytest.approx([1, 2**0.5, 2, 4 * 2**0.5, 8], rel=1e-12)


async def test_negative_observations_come_first(api: Api) -> None:
    """Two in [-4, -2), one in the zero bucket of both sides, one in (1, 2]."""
    await store(api, [BASE, Native(MONDAY, {1: 1}, {2: 2}, 1, threshold=0.5)])
    found = await quantiles(api, 0, 0.25, 0.5, 0.625, 0.75, 1)
    assert found == pytest.approx([-4, -(2**1.5), -2, 0, 0.5, 2], rel=1e-12)


async def test_a_zero_bucket_has_the_side_that_is_used(api: Api) -> None:
    await store(api, [BASE, Native(MONDAY, {1: 1}, zero=1, threshold=0.5)])
    assert await quantiles(api, 0, 0.25, 0.5, 1) == pytest.approx([0, 0.25, 0.5, 2])


async def test_custom_buckets_are_linear(api: Api) -> None:
    bounds = [1.0, 3.0, 10.0]
    empty = Native(MONDAY - SECOND, schema=CUSTOM, threshold=0, bounds=bounds)
    full = Native(MONDAY, {0: 2, 1: 2, 3: 4}, schema=CUSTOM, threshold=0, bounds=bounds)
    await store(api, [empty, full])
    assert await quantiles(api, 0, 0.125, 0.375, 0.5, 0.9, 1) == [0, 0.5, 2, 3, 10, 10]


async def test_the_lowest_custom_bucket_may_be_negative(api: Api) -> None:
    custom = {"schema": CUSTOM, "threshold": 0, "bounds": [-1.0, 1.0]}
    await store(api, [Native(MONDAY - SECOND, **custom), Native(MONDAY, {0: 1, 1: 1}, **custom)])
    assert await quantiles(api, 0.25, 0.75, 1) == [-1, 0, 1]


async def test_only_what_came_in_counts(api: Api) -> None:
    """The histogram before a bucket is the base of the first one in it, whatever the period."""
    await store(
        api,
        [
            Native(MONDAY - 2 * DAY, {5: 1000}, sum=1000),
            Native(MONDAY + MINUTE, {1: 1, 5: 1000}, sum=1001.5),
            Native(MONDAY + 2 * MINUTE, {1: 4, 5: 1000}, sum=1006),
            Native(MONDAY + HOUR, {1: 4, 2: 2, 5: 1000}, sum=1013),
            Native(MONDAY + 3 * HOUR, {1: 4, 2: 2, 5: 1000}, sum=1013),
        ],
    )
    assert await counts(api) == [
        (MONDAY, "4"),
        (MONDAY + HOUR, "2"),
        (MONDAY + 3 * HOUR, "0"),
    ]
    assert await api.values(SUM, "1 hour", MONDAY, MONDAY + DAY) == ["6", "7", "0"]
    assert await api.values(SUM, "1 day", MONDAY, MONDAY + DAY) == ["13"]
    assert await api.values(COUNT, "1 hour", MONDAY + 90 * SECOND, MONDAY + HOUR) == ["3"]
    medians = await api.rows(QUANTILE, "1 hour", MONDAY, MONDAY + DAY, 1.0)
    assert medians == [(MONDAY, "2"), (MONDAY + HOUR, "4")]


async def test_the_first_histogram_counts_if_it_was_started_in_its_bucket(api: Api) -> None:
    start = MONDAY + 30 * MINUTE
    await store(api, [Native(start + MINUTE, {1: 5})])
    assert await counts(api) == []
    await store(api, [Native(start + MINUTE, {1: 3}, start=start)], name="started")
    started = "histogram_count('started', 'common', $1::text::interval, $2, $3)"
    assert await api.values(started, "1 hour", MONDAY, MONDAY + DAY) == ["3"]
    assert await api.values(started, "1 minute", MONDAY, MONDAY + DAY) == []


async def test_a_base_is_at_most_a_week_old(api: Api) -> None:
    await store(
        api,
        [Native(MONDAY - 7 * DAY, {1: 5}), Native(MONDAY, {1: 6}), Native(MONDAY + SECOND, {1: 8})],
        [Native(MONDAY - 7 * DAY - SECOND, {1: 5}), Native(MONDAY, {1: 66})],
    )
    assert await counts(api) == [(MONDAY, "3")]
    longer = await api.rows(COUNT, "1 hour", MONDAY - 9 * DAY, MONDAY + DAY)
    assert longer == [(MONDAY, "3")]


@pytest.mark.parametrize(
    "after",
    [
        Native(MONDAY + SECOND, {1: 3}),
        Native(MONDAY + SECOND, {1: 3, 2: 9}),
        Native(MONDAY + SECOND, {2: 12}),
        Native(MONDAY + SECOND, {1: 12}, hint=RESET),
        Native(MONDAY + SECOND, {2: 12}, schema=1),
        Native(MONDAY + SECOND, {1: 12}, threshold=0),
        Native(MONDAY + SECOND, {1: 12}, start=MONDAY + SECOND / 2),
        Native(MONDAY + SECOND, {1: 12}, {1: 1}, start=MONDAY + SECOND / 2),
        Native(MONDAY + SECOND, {1: 12}, schema=CUSTOM, threshold=0, bounds=[1.0, 2.0]),
    ],
    ids=[
        "count", "bucket", "bucket gone", "hint", "finer", "threshold", "start", "start and side",
        "custom",
    ],
)  # fmt: skip
async def test_after_a_reset_all_of_it_counts(api: Api, after: Native) -> None:
    before = Native(MONDAY, {1: 10})
    await store(api, [before, after, Native(MONDAY + DAY)])
    assert await counts(api) == [(MONDAY, f"{after.count:.0f}")]


async def test_what_is_no_reset(api: Api) -> None:
    """A coarser schema, a wider zero bucket, new buckets, the same start, the hint that says so."""
    before = Native(MONDAY - SECOND, {-20: 1, 1: 2, 2: 3}, {4: 1}, zero=2, schema=1, start=MONDAY)
    steps = [
        before,
        Native(MONDAY, {-20: 1, 1: 2, 2: 3, 9: 1}, {4: 1}, 2, schema=1, hint=NO_RESET),
        Native(MONDAY + SECOND, {-10: 1, 1: 6, 5: 1}, {2: 1, 3: 1}, 2, schema=0),
        Native(MONDAY + 2 * SECOND, {1: 6, 5: 1}, {2: 1, 3: 2}, 4, schema=0, threshold=2**-8),
    ]
    await store(api, steps)
    assert await counts(api, "1 second") == [
        (MONDAY, "1"),
        (MONDAY + SECOND, "2"),
        (MONDAY + 2 * SECOND, "2"),
    ]


async def test_gauge_histograms_count_as_they_are(api: Api) -> None:
    await store(
        api,
        [Native(MONDAY + n * MINUTE, {1: 5, 2: n}, hint=GAUGE, sum=2.5) for n in range(3)],
    )
    assert await counts(api, "2 minutes") == [(MONDAY, "11"), (MONDAY + 2 * MINUTE, "7")]
    assert await api.values(SUM, "2 minutes", MONDAY, MONDAY + DAY) == ["5", "2.5"]


async def test_stale_markers_do_not_count(api: Api) -> None:
    marker = Native(MONDAY + MINUTE, sum=math.nan, is_stale=True)
    await store(api, [BASE, Native(MONDAY, {1: 5}), marker, Native(MONDAY + HOUR, {1: 7})])
    assert await counts(api) == [(MONDAY, "5"), (MONDAY + HOUR, "2")]


async def test_observations_of_nan_are_in_no_bucket(api: Api) -> None:
    """Of four observations one is NaN: quantiles beyond the third have no row."""
    await store(api, [BASE, Native(MONDAY, {1: 3}, observed=4, sum=math.nan)])
    assert await quantiles(api, 0.75, 0.76) == [2, None]
    assert await counts(api) == [(MONDAY, "4")]
    assert await api.values(SUM, "1 hour", MONDAY, MONDAY + DAY) == []


async def test_a_sum_that_is_not_finite_leaves_its_series_out(api: Api) -> None:
    later = MONDAY + SECOND
    await store(
        api,
        [Native(MONDAY, sum=1), Native(later, {1: 1}, sum=math.inf)],
        [Native(MONDAY, sum=math.nan), Native(later, {1: 1}, sum=math.nan)],
        [Native(MONDAY, sum=0.1), Native(later, {1: 1}, sum=0.4)],
    )
    assert await api.values(SUM, "1 hour", MONDAY, MONDAY + DAY) == ["0.3"]
    assert await counts(api) == [(MONDAY, "3")]


async def test_counts_that_are_no_numbers_are_passed_over(api: Api) -> None:
    odd = [math.nan, math.inf]
    await store(
        api,
        [
            Native(MONDAY, {1: 1}, is_float=True),
            *(
                Native(MONDAY + (n + 1) * SECOND, {1: value}, is_float=True)
                for n, value in enumerate(odd)
            ),
            Native(MONDAY + MINUTE, {1: 2.5}, is_float=True),
        ],
    )
    assert await counts(api) == [(MONDAY, "1.5")]
    assert await quantiles(api, 1) == [2]


async def test_large_counts_are_exact(api: Api) -> None:
    def large(time: datetime, n: int) -> Native:
        exact = [Decimal(n), Decimal(0), Decimal(n)]
        return Native(time, {1: float(n)}, exact_counts=exact)

    await store(api, [large(MONDAY - SECOND, 2**63), large(MONDAY, 2**63 + 3)])
    assert await counts(api) == [(MONDAY, "3")]


async def test_what_float_counts_leave_behind_is_no_observation(api: Api) -> None:
    """0.1 + 0.2 - 0.3 is not 0: a bucket that lost all it had must not be the smallest."""
    rows = []
    for n in (0.1, 0.2, 0.3):
        before = Native(MONDAY - SECOND, {-9: n}, is_float=True)
        rows.append([before, Native(MONDAY, {-9: n, 3: 1}, is_float=True)])
    await store(api, *rows)
    assert await quantiles(api, 0) == [4]


async def test_series_of_different_resolution_are_put_together(api: Api) -> None:
    """(1, 2] at schema 0, and both of its halves at schema 1."""
    await store(
        api,
        [BASE, Native(MONDAY, {1: 2})],
        [Native(MONDAY - SECOND, schema=1), Native(MONDAY, {1: 3, 2: 3, 3: 8}, schema=1)],
    )
    assert await quantiles(api, 0.25, 0.5, 1) == pytest.approx([2**0.5, 2, 4])


async def test_the_widest_zero_bucket_swallows_what_begins_in_it(api: Api) -> None:
    await store(
        api,
        [BASE, Native(MONDAY, {-1: 2, 0: 2, 1: 4})],
        [Native(MONDAY - SECOND, threshold=0.75), Native(MONDAY, {1: 4}, zero=4, threshold=0.75)],
    )
    assert await quantiles(api, 0.25, 0.5, 1) == pytest.approx([0.5, 1, 2])


async def test_custom_and_exponential_buckets_do_not_mix(api: Api) -> None:
    custom = {"schema": CUSTOM, "threshold": 0, "bounds": [1.0]}
    await store(
        api,
        [BASE, Native(MONDAY, {1: 2})],
        [Native(MONDAY - SECOND, **custom), Native(MONDAY, {0: 2}, **custom)],
    )
    assert await quantiles(api, 0.5) == [None]
    assert await counts(api) == [(MONDAY, "4")]


async def test_custom_bounds_that_differ_meet_at_those_they_share(api: Api) -> None:
    few = {"schema": CUSTOM, "threshold": 0, "bounds": [1.0, 10.0]}
    many = {"schema": CUSTOM, "threshold": 0, "bounds": [1.0, 5.0, 10.0, 20.0]}
    await store(
        api,
        [Native(MONDAY - SECOND, **few), Native(MONDAY, {1: 4}, **few)],
        [Native(MONDAY - SECOND, **many), Native(MONDAY, {1: 2, 2: 2, 3: 8}, **many)],
    )
    assert await quantiles(api, 0.25, 0.5, 1) == [5.5, 10, 10]


async def test_the_ends_of_what_a_float_holds(api: Api) -> None:
    await store(api, [BASE, Native(MONDAY, {1024: 1, 1025: 1, -1074: 1, -2000: 1})])
    found = await quantiles(api, 0, 0.5, 0.6, 1)
    assert found[:2] == [0, pytest.approx(5e-324)]
    assert found[2] == pytest.approx(2**1023.4)
    assert found[3] == math.inf


@pytest.mark.parametrize("quantile", [-0.001, 1.001, math.nan, math.inf])
async def test_a_quantile_outside_0_to_1_is_an_error(api: Api, quantile: float) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="from 0 to 1"):
        await api.rows(QUANTILE, "1 hour", MONDAY, MONDAY + DAY, quantile)


@pytest.mark.parametrize("call", [COUNT, SUM])
async def test_a_width_has_to_be_positive(api: Api, call: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="must be positive"):
        await api.rows(call, "-1 hour", MONDAY, MONDAY + DAY)


async def test_months_and_names_in_any_case(api: Api) -> None:
    await store(api, [BASE, Native(MONDAY, {1: 5}), Native(MONDAY + 40 * DAY, {1: 7})], name="Ab")
    call = "histogram_count($4, 'common', $1::text::interval, $2, $3)"
    rows = await api.rows(call, "1 month", MONDAY, MONDAY + 60 * DAY, "aB")
    assert rows == [(MONDAY, "5")]
    assert await api.rows(call, "1 month", MONDAY, MONDAY + 60 * DAY, "other") == []


SCHEMAS, INDEXES = st.sampled_from([0, 0, 0, 1, 2]), st.integers(-3, 4)
buckets = st.dictionaries(INDEXES, st.integers(0, 5), max_size=3)
steps = st.tuples(
    st.sampled_from(["more", "more", "more", "anew", "stale", "gauge", "hint", "wider", "coarser"]),
    st.integers(1, 90),  # minutes
    buckets,
    buckets,
    st.integers(0, 2),
    st.booleans(),  # says when it started
)
series = st.tuples(SCHEMAS, st.lists(steps, min_size=1, max_size=8))
_names = count()


def unroll(schema: int, drawn: list[tuple]) -> list[Native]:
    """Histograms of one series, each made of the one before."""
    made: list[Native] = []
    time, start, threshold = MONDAY - HOUR, MONDAY - HOUR, 2.0**-4
    positive: dict[int, float] = {}
    negative: dict[int, float] = {}
    zero = 0.0
    for what, minutes, more, less, in_zero, says_start in drawn:
        time += minutes * MINUTE
        if what == "anew":
            positive, negative, zero, start = {}, {}, 0.0, time - minutes * MINUTE / 2
        if what == "coarser" and schema > 0:
            schema -= 1
            positive, negative = _halved(positive), _halved(negative)
        if what == "wider":
            threshold *= 2
            gone = [i for i in positive if 2.0 ** (i * 2.0**-schema) <= threshold]
            zero += sum(positive[i] for i in gone)
            positive = {i: n for i, n in positive.items() if i not in gone}
        positive = _plus(positive, more)
        negative = _plus(negative, less)
        zero += in_zero
        made.append(
            Native(
                time, positive, negative, zero, schema, threshold,
                hint={"gauge": GAUGE, "hint": RESET}.get(what, 0),
                start=start if says_start else None,
                is_stale=what == "stale",
            )
        )  # fmt: skip
    return made


def _halved(buckets: dict[int, float]) -> dict[int, float]:
    halved: dict[int, float] = {}
    for index, n in buckets.items():
        halved[-(-index // 2)] = halved.get(-(-index // 2), 0) + n
    return halved


def _plus(buckets: dict[int, float], more: dict[int, int]) -> dict[int, float]:
    return {i: buckets.get(i, 0) + more.get(i, 0) for i in buckets | more}


def test_any_histograms_say_what_the_reference_says(engine_db: Database) -> None:
    @settings(
        max_examples=10 if engine_db.one_session else 30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(series, min_size=1, max_size=3), st.sampled_from([1, 7, 60, 1440]))
    def check(drawn: list[tuple[int, list[tuple]]], minutes: int) -> None:
        unrolled = [unroll(schema, steps) for schema, steps in drawn]
        blocking(_compare(engine_db, unrolled, minutes))

    check()


async def _compare(database: Database, unrolled: list[list[Native]], minutes: int) -> None:
    origin, width = datetime(2000, 1, 3, tzinfo=UTC), minutes * MINUTE
    since, until = MONDAY + 5 * MINUTE, MONDAY + 6 * HOUR

    def bucket_of(time: datetime) -> datetime:
        return origin + (time - origin) // width * width

    terms = terms_of(unrolled, bucket_of, since, until)
    name = f"h{next(_names)}"
    async with connect(database) as connection:
        api = Api(database, connection)
        await store(api, *unrolled, name=name)
        period = f"$1, 'common', '{minutes} minutes', $2, $3"
        found = await api.rows(f"histogram_count({period})", name, since, until)
        assert {bucket: int(value) for bucket, value in found} == {
            bucket: sum(sign * h.count for sign, h in ends) for bucket, ends in terms.items()
        }
        for q in (0, 0.3, 0.5, 0.9, 1):
            rows = await api.rows(f"histogram_quantile({q}, {period})", name, since, until)
            expected = {bucket: quantile_of(q, ends) for bucket, ends in sorted(terms.items())}
            assert {bucket: float(value) for bucket, value in rows} == pytest.approx(
                {bucket: value for bucket, value in expected.items() if value is not None},
                rel=1e-9, abs=1e-12,
            )  # fmt: skip
