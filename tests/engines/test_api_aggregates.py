"""get_agg_metric and get_agg_cumsum_metric, to the last digit."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.engines.sql_api import Api, Sample

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
CALL = "get_agg_metric('m', 'common', $1::text::interval, $2, $3)"
TOTAL = "get_agg_cumsum_metric('c', 'cumsum', $1::text::interval, $2, $3)"


def counted(time: datetime, value: float = 60, **changes: str) -> Sample:
    """An increment of the cumulative metric c."""
    return Sample(time, "c", value, target="cumsum", schema="cumsum", **changes)


DECIMALS = [
    (60.0, None, "60"),
    (0.379, None, "0.379"),
    (135304300855652060000.0, None, "135304300855652060000"),
    (1e-7, None, "0.0000001"),
    (-0.0, None, "0"),
    (5e-324, None, "0." + "0" * 323 + "5"),
    (math.inf, None, "Infinity"),
    (-math.inf, None, "-Infinity"),
    (1.0, "987654321098765432101", "987654321098765432101"),
    (1.0, "+0012.50", "12.5"),
    (1.0, "1200", "1200"),
]


async def test_a_value_leaves_as_its_shortest_decimal(api: Api) -> None:
    moments = [MONDAY + n * MINUTE for n in range(len(DECIMALS))]
    for time, (value, exact, _) in zip(moments, DECIMALS, strict=True):
        await api.store(Sample(time, "m", value, exact))
    for width in ("1 second", "1 minute"):
        texts = await api.values(CALL, width, MONDAY, MONDAY + DAY)
        assert texts[::-1] == [text for _, _, text in DECIMALS]
    for time, (_, _, text) in zip(moments, DECIMALS, strict=True):
        assert await api.values(CALL, "1 month", time, time + MINUTE) == [text]


async def test_digits_do_not_depend_on_the_session(api: Api) -> None:
    await api.store(Sample(MONDAY, "m", 0.1 + 0.2), counted(MONDAY, 0.1 + 0.2))
    await api.connection.execute("SET extra_float_digits = -5")
    for width in ("1 second", "1 day"):
        for call in (CALL, TOTAL):
            texts = await api.values(call, width, MONDAY, MONDAY + DAY)
            assert texts == ["0.30000000000000004"]


async def test_the_largest_exact_value_wins_over_any_float(api: Api) -> None:
    await api.store(
        Sample(MONDAY, "m", 1e30, labels={"a": "1"}),
        Sample(MONDAY, "m", 1.0, "987654321098765432101", labels={"a": "2"}),
        Sample(MONDAY + SECOND, "m", 1.0, "987654321098765432102", labels={"a": "2"}),
        Sample(MONDAY + MINUTE, "m", 3.0),
        Sample(MONDAY + MINUTE + SECOND, "m", 2.0),
    )
    assert await api.rows(CALL, "1 minute", MONDAY, MONDAY + DAY) == [
        (MONDAY + MINUTE, "3"),
        (MONDAY, "987654321098765432102"),
    ]
    assert await api.values(CALL, "1 hour", MONDAY, MONDAY + DAY) == ["987654321098765432102"]


async def test_nan_enters_nothing_and_infinity_no_sum(api: Api) -> None:
    await api.store(
        Sample(MONDAY, "m", math.nan),
        Sample(MONDAY + MINUTE, "m", math.nan),
        Sample(MONDAY + MINUTE + SECOND, "m", -5.0),
        counted(MONDAY, math.nan),
        counted(MONDAY + MINUTE, math.inf),
        counted(MONDAY + 2 * MINUTE, 1e308),
        counted(MONDAY + 2 * MINUTE + SECOND, 1e308),
    )
    assert await api.rows(CALL, "1 minute", MONDAY, MONDAY + DAY) == [(MONDAY + MINUTE, "-5")]
    assert await api.rows(TOTAL, "1 minute", MONDAY, MONDAY + DAY) == [
        (MONDAY + MINUTE, "0"),
        (MONDAY + 2 * MINUTE, "2" + "0" * 308),
    ]


async def test_edges_inside_a_minute_are_kept_to_the_microsecond(api: Api) -> None:
    micro = timedelta(microseconds=1)
    times = [MONDAY + n * SECOND / 2 for n in range(240)]
    await api.store(*(Sample(time, "m", n) for n, time in enumerate(times)))
    first, after = times[7], times[151]
    for width in ("1 minute", "1 day"):
        assert (await api.values(CALL, width, first, after))[0] == "150"
        assert (await api.values(CALL, width, first, after + micro))[0] == "151"
    assert await api.rows(CALL, "500 ms", first, times[9]) == [(times[8], "8"), (first, "7")]
    assert await api.rows(CALL, "500 ms", first + micro, times[9]) == [(times[8], "8")]


async def test_buckets_are_utc_whatever_the_session_says(api: Api) -> None:
    await api.store(
        Sample(MONDAY - SECOND, "m", 1), Sample(MONDAY, "m", 2), Sample(MONDAY + 6 * DAY, "m", 3)
    )

    async def starts(width: str) -> list[datetime]:
        return [row[0] for row in await api.rows(CALL, width, MONDAY - 9 * DAY, MONDAY + 9 * DAY)]

    for zone in ("UTC", "America/St_Johns", "Asia/Kathmandu"):
        await api.connection.execute(f"SET timezone = '{zone}'")
        assert await starts("7 days") == [MONDAY, MONDAY - 7 * DAY]
        assert await starts("1 day") == [MONDAY + 6 * DAY, MONDAY, MONDAY - DAY]
        assert await starts("1 month") == [MONDAY, datetime(2026, 5, 1, tzinfo=UTC)]
        assert await starts("5 months") == [datetime(2026, 4, 1, tzinfo=UTC)]
        assert await starts("2 years") == [datetime(2026, 1, 1, tzinfo=UTC)]


NO_WIDTHS = [
    ("0", "must be positive"),
    ("-1 minute", "must be positive"),
    ("-1 month", "must be positive"),
    ("1 day -25 hours", "must be positive"),
    ("1 month 1 day", "mixes months with smaller units"),
    ("1 month -1 second", "mixes months with smaller units"),
]


async def test_an_interval_that_is_no_width_is_named(api: Api) -> None:
    for width, problem in NO_WIDTHS:
        for call in (CALL, TOTAL):
            with pytest.raises(asyncpg.InvalidParameterValueError, match=f"p_interval {problem}"):
                await api.rows(call, width, MONDAY, MONDAY + DAY)


async def test_nothing_asked_nothing_answered(api: Api) -> None:
    await api.store(Sample(MONDAY, "m"), counted(MONDAY))
    for call in (CALL, TOTAL):
        assert await api.rows(call, "1 day", MONDAY, MONDAY) == []
        assert await api.rows(call, "1 day", MONDAY + DAY, MONDAY) == []
        assert await api.rows(call, None, MONDAY, MONDAY + DAY) == []
        assert len(await api.rows(call, "1 day", None, MONDAY + DAY)) == 0


async def test_edges_may_be_infinite(api: Api) -> None:
    await api.store(Sample(MONDAY, "m", 7), counted(MONDAY))
    for width in ("1 second", "1 minute", "1 year"):
        for call in (CALL, TOTAL):
            endless = call.replace("$2, $3", "'-infinity', 'infinity'")
            assert len(await api.rows(endless, width)) == 1


async def test_names_are_asked_for_in_any_case_schemas_are_not(api: Api) -> None:
    await api.store(Sample(MONDAY, "Foo", 1), Sample(MONDAY, "foo", 2), Sample(MONDAY, "ä", 3))
    call = "get_agg_metric($1, $2, '1 day', $3, $4)"
    assert await api.values(call, "FOO", "common", MONDAY, MONDAY + DAY) == ["2"]
    assert await api.values(call, "ä", "common", MONDAY, MONDAY + DAY) == ["3"]
    assert await api.values(call, "Ä", "common", MONDAY, MONDAY + DAY) == []
    assert await api.values(call, "foo", "Common", MONDAY, MONDAY + DAY) == []


async def test_a_running_total_counts_what_came_before(api: Api) -> None:
    await api.store(*(counted(MONDAY + n * MINUTE) for n in range(3)))
    assert await api.rows(TOTAL, "1 minute", MONDAY, MONDAY + DAY) == [
        (MONDAY, "60"),
        (MONDAY + MINUTE, "120"),
        (MONDAY + 2 * MINUTE, "180"),
    ]
    assert await api.values(TOTAL, "1 minute", MONDAY + MINUTE, MONDAY + DAY) == ["120", "180"]
    assert await api.values(TOTAL, "1 day", MONDAY, MONDAY + 3 * SECOND) == ["60"]
    assert await api.values(TOTAL, "1 day", MONDAY + SECOND, MONDAY + DAY) == ["180"]
    assert await api.rows(TOTAL, "1 day", MONDAY + DAY, MONDAY + 2 * DAY) == []


async def test_increments_add_up_exactly(api: Api) -> None:
    await api.store(
        counted(MONDAY - 400 * DAY, 0.1),
        counted(MONDAY - HOUR, 0.2),
        counted(MONDAY - SECOND, 1.0, exact="987654321098765432101"),
        counted(MONDAY, -0.3),
        counted(MONDAY + HOUR, 0.25),
    )
    for _ in range(2):
        assert await api.values(TOTAL, "1 hour", MONDAY, MONDAY + DAY) == [
            "987654321098765432101",
            "987654321098765432101.25",
        ]
        await api.roll_up()
