"""Periods cut into parts, each read from another rollup, say what the raw samples say.

The expected answer is computed here, from the samples as they were sent, without SQL.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import product

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.sql_api import Api, Sample

ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)
WIDTHS: dict[str, timedelta | int] = {
    "1 second": timedelta(seconds=1),
    "7 seconds": timedelta(seconds=7),
    "90 seconds": timedelta(seconds=90),
    "1 minute": timedelta(minutes=1),
    "7 minutes": timedelta(minutes=7),
    "1 hour": timedelta(hours=1),
    "36 hours": timedelta(hours=36),
    "25 hours 1 second": timedelta(hours=25, seconds=1),
    "1 day": timedelta(days=1),
    "7 days": timedelta(days=7),
    "1 month": 1,
    "5 months": 5,
    "1 year": 12,
}
VALUES: list[tuple[float, str | None]] = [
    (0.1, None),
    (60.0, None),
    (math.nan, None),
    (-3.5, None),
    (1e22, None),
    (math.inf, None),
    (1.0, "987654321098765432101.5"),
    (0.30000000000000004, None),
    (-math.inf, None),
    (1.0, "-12"),
]


def month_start(months_ago: int) -> datetime:
    """The start of a month, in UTC."""
    today = datetime.now(UTC)
    months = today.year * 12 + today.month - 1 - months_ago
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


# Around the start of a month, a day, an hour and a minute, just before, at and after it.
MONTH = month_start(2)
BOUNDARIES = [
    MONTH,
    MONTH + timedelta(days=3),
    MONTH + timedelta(days=3, hours=5),
    MONTH + timedelta(days=3, hours=5, minutes=7),
]
NEARBY = [timedelta(milliseconds=ms) for ms in (-61_000, -1, 0, 1, 250, 3_600_000, 86_400_000)]
TIMES = [boundary + shift for boundary, shift in product(BOUNDARIES, NEARBY)]


def sample(position: int, time: datetime) -> Sample:
    """Samples of two series, with all sorts of values."""
    value, exact = VALUES[position % len(VALUES)]
    return Sample(time, "m", value, exact, labels={"series": str(position % 2)})


def increment(position: int, time: datetime) -> Sample:
    """The same as increments."""
    value, exact = VALUES[position * 3 % len(VALUES)]
    return Sample(time, "c", value, exact, schema="cumsum", target="cumsum")


SAMPLES = [sample(position, time) for position, time in enumerate(TIMES)]
INCREMENTS = [increment(position, time) for position, time in enumerate(TIMES)]
LATE = [sample(n, time + timedelta(milliseconds=500)) for n, time in enumerate(TIMES[::3])]


def bucket(width: timedelta | int, time: datetime) -> datetime:
    """Where a bucket starts, in UTC from 2000-01-03, months from 2000-01-01."""
    if isinstance(width, timedelta):
        return ORIGIN + (time - ORIGIN) // width * width
    months = ((time.year - 2000) * 12 + time.month - 1) // width * width
    return datetime(2000 + months // 12, months % 12 + 1, 1, tzinfo=UTC)


def decimal_text(number: Decimal) -> str:
    """As the API writes it: no exponent, no trailing zeros."""
    if number.is_infinite():
        return str(number)
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def largest(samples: list[Sample]) -> Decimal:
    """The largest exact value if there is one, else the largest value."""
    exact = [Decimal(one.exact) for one in samples if one.exact]
    return max(exact) if exact else max(Decimal(repr(one.value)) for one in samples)


def total(samples: list[Sample]) -> Decimal:
    """The sum of all finite increments."""
    numbers = [Decimal(one.exact or repr(one.value)) for one in samples]
    with localcontext() as context:
        context.prec = 100
        return sum((number for number in numbers if number.is_finite()), Decimal(0))


Answer = list[tuple[datetime, str]]


def by_bucket(
    samples: list[Sample], width: str, start: datetime, end: datetime
) -> dict[datetime, list[Sample]]:
    """The samples of a period that count, by bucket, oldest first."""
    buckets: dict[datetime, list[Sample]] = {}
    for one in sorted(samples, key=lambda one: one.time):
        if start <= one.time < end and not math.isnan(one.value):
            buckets.setdefault(bucket(WIDTHS[width], one.time), []).append(one)
    return buckets


def expected_maxima(samples: list[Sample], width: str, start: datetime, end: datetime) -> Answer:
    """What get_agg_metric must say."""
    buckets = by_bucket(samples, width, start, end)
    return [(time, decimal_text(largest(ones))) for time, ones in reversed(buckets.items())]


def expected_totals(samples: list[Sample], width: str, start: datetime, end: datetime) -> Answer:
    """What get_agg_cumsum_metric must say."""
    so_far = [one for one in samples if one.time < start and not math.isnan(one.value)]
    answer = []
    for time, ones in by_bucket(samples, width, start, end).items():
        so_far += ones
        answer.append((time, decimal_text(total(so_far))))
    return answer


edges = st.builds(
    lambda boundary, shift, delta: boundary + shift + delta,
    st.sampled_from(BOUNDARIES),
    st.sampled_from(NEARBY),
    st.one_of(
        st.just(timedelta(0)),
        st.timedeltas(timedelta(seconds=-90), timedelta(seconds=90)),
        st.timedeltas(timedelta(days=-40), timedelta(days=40)),
    ),
)


@pytest_asyncio.fixture
async def stored(api: Api) -> AsyncIterator[Api]:
    """The samples in the database, half of them rolled up; the session far from UTC."""
    await api.store(*SAMPLES, *INCREMENTS[::2])
    await api.roll_up()
    await api.store(*LATE, *INCREMENTS[1::2])
    if api.database.engine == "timescaledb":
        await api.roll_up()  # late samples are in aggregates within a minute there
    await api.connection.execute("SET timezone = 'Asia/Kathmandu'")
    yield api


async def check(api: Api, width: str, start: datetime, end: datetime) -> None:
    """Both functions say what the samples say."""
    asked: list[tuple[str, str, Callable[..., Answer], list[Sample]]] = [
        ("get_agg_metric", "'m', 'common'", expected_maxima, SAMPLES + LATE),
        ("get_agg_cumsum_metric", "'c', 'cumsum'", expected_totals, INCREMENTS),
    ]
    for function, metric, expected, samples in asked:
        call = f"{function}({metric}, $1::text::interval, $2, $3)"
        answer = await api.rows(call, width, start, end)
        assert answer == expected(samples, width, start, end)


periods = given(width=st.sampled_from(list(WIDTHS)), start=edges, end=edges)
few = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@periods
async def test_every_period_says_what_its_samples_say(
    stored: Api, width: str, start: datetime, end: datetime
) -> None:
    await check(stored, width, start, end)


async def test_every_width_over_everything(stored: Api) -> None:
    await stored.roll_up()
    for width in WIDTHS:
        first, last = TIMES[0] - timedelta(days=1), TIMES[-1] + timedelta(days=1)
        await check(stored, width, first, last)


async def test_a_year_at_a_days_step_reads_days_and_its_crooked_edges(api: Api) -> None:
    start, end = datetime(2025, 1, 5, 3, 4, 5, 6, UTC), datetime(2026, 1, 5, 22, 58, 59, 7, UTC)
    plans = {
        width: await api.connection.fetch(
            "SELECT source, lo, hi FROM internal.read_plan($1::text::interval, $2, $3)",
            width,
            start,
            end,
        )
        for width in WIDTHS
    }
    for plan in plans.values():
        assert [part["lo"] for part in plan] == [start, *(part["hi"] for part in plan[:-1])]
        assert plan[-1]["hi"] == end
    whole = ["rollup_raw", "rollup_1m", "rollup_1h", "rollup_1d"]
    for width, levels in (("1 day", 4), ("1 year", 4), ("36 hours", 3), ("7 minutes", 2)):
        sources = [part["source"] for part in plans[width]]
        assert sources == whole[:levels] + whole[: levels - 1][::-1]
    days = plans["1 day"][3]
    assert (days["lo"], days["hi"]) == (
        datetime(2025, 1, 6, tzinfo=UTC),
        datetime(2026, 1, 5, tzinfo=UTC),
    )
    assert len(plans["90 seconds"]) == 1
