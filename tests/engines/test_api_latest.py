"""get_all_latest_{mainnet,testnet,common,cumsum}_metrics: one row a metric, however old."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from tests.engines.sql_api import Api, Sample

SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)


def counted(time: datetime, name: str, value: float, schema: str = "cumsum") -> Sample:
    """An increment of a cumulative metric."""
    return Sample(time, name, value, schema=schema, target="cumsum")


async def test_one_row_a_metric_of_the_tier(api: Api) -> None:
    now = await api.minute()
    for tier in ("mainnet", "testnet", "common"):
        await api.store(
            Sample(now - MINUTE, "b", 2, schema=tier),
            Sample(now - 2 * MINUTE, "b", 9, schema=tier),
            Sample(now - MINUTE, "_a", 0.1, schema=tier),
            Sample(now - MINUTE, "Ab", 60, schema=tier),
            Sample(now - MINUTE, "total", 1, "987654321098765432101.50", schema=tier),
            Sample(now - MINUTE, f"only_{tier}", 5, schema=tier),
            Sample(now - MINUTE, "silent", math.nan, schema=tier),
            counted(now - MINUTE, "counted", 60, schema=tier),
        )
    for _ in range(2):
        for tier in ("mainnet", "testnet", "common"):
            assert await api.rows(f"get_all_latest_{tier}_metrics()") == [
                (now - MINUTE, "_a", "0.1"),
                (now - MINUTE, "ab", "60"),
                (now - MINUTE, "b", "2"),
                (now - MINUTE, f"only_{tier}", "5"),
                (now - MINUTE, "total", "987654321098765432101.5"),
            ]
        await api.roll_up()


async def test_last_is_newest_then_of_the_newest_series(api: Api) -> None:
    now = await api.minute() - 30 * SECOND
    await api.store(*(Sample(now, "m", n, labels={"n": str(n)}) for n in (3, 1)))
    await api.store(Sample(now, "m", 2, labels={"n": "new"}))
    await api.store(Sample(now - SECOND, "m", 5, labels={"n": "newer"}))
    for _ in range(2):
        assert [row[2] for row in await api.rows("get_all_latest_common_metrics()")] == ["2"]
        await api.roll_up()


async def test_an_exact_value_of_the_newest_minute_wins(api: Api) -> None:
    minute = await api.minute() - MINUTE
    await api.store(
        Sample(minute - MINUTE, "m", 1, "7"),
        Sample(minute + SECOND, "m", 1, "8"),
        Sample(minute + 2 * SECOND, "m", 1, "6"),
        Sample(minute + 3 * SECOND, "m", 5),
    )
    for _ in range(2):
        assert await api.rows("get_all_latest_common_metrics()") == [(minute, "m", "6")]
        await api.roll_up()


async def test_every_age_is_found_to_the_minute(api: Api) -> None:
    now = await api.minute()
    ages = [
        -4 * MINUTE,  # a sender's fast clock
        0 * MINUTE,
        MINUTE,
        3 * MINUTE,
        7 * MINUTE,
        80 * MINUTE,
        26 * HOUR,
        40 * DAY,
    ]
    for position, age in enumerate(ages):
        name = f"m{position}"
        await api.store(
            Sample(now - age, name, position),
            Sample(now - age - MINUTE, name, 99),
            Sample(now - age - HOUR, name, 99),
            Sample(now - age - DAY, name, 99),
        )
    expected = [(now - age, f"m{position}", str(position)) for position, age in enumerate(ages)]
    for _ in range(2):
        assert await api.rows("get_all_latest_common_metrics()") == expected
        await api.roll_up()


async def test_totals_so_far(api: Api) -> None:
    now = await api.minute()
    ages = (-2 * MINUTE, MINUTE, 10 * MINUTE, 5 * HOUR, 30 * DAY, 400 * DAY)
    await api.store(
        *(counted(now - age, "web_requests", 0.1) for age in ages),
        *(counted(now - age, "b", 60) for age in ages[2:]),
        counted(now - MINUTE, "b", math.nan),
        counted(now - 3 * DAY, "b", 60, schema="another"),
        counted(now - MINUTE, "c", math.inf),
        counted(now - 2 * MINUTE, "c", 5),
    )
    for _ in range(2):
        assert await api.rows("get_all_latest_cumsum_metrics()") == [
            (now - 10 * MINUTE, "b", "300"),
            (now - MINUTE, "c", "5"),
            (now + 2 * MINUTE, "web_requests", "0.6"),
        ]
        await api.roll_up()


async def test_no_metric_no_row(api: Api) -> None:
    for tier in ("mainnet", "testnet", "common", "cumsum"):
        assert await api.rows(f"get_all_latest_{tier}_metrics()") == []


async def test_where_minutes_have_expired_the_day_remains(postgres_api: Api) -> None:
    old = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 500 * DAY
    await postgres_api.store(Sample(old + 5 * HOUR + 7 * MINUTE, "m", 7))
    await postgres_api.roll_up()
    await postgres_api.connection.execute("DELETE FROM internal.stored_1m")
    assert await postgres_api.rows("get_all_latest_common_metrics()") == [(old, "m", "7")]
