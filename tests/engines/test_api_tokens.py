"""Supplies, FDV and market cap: exact decimals, to the last digit."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from decimal import Decimal

from tests.engines.sql_api import Api, Sample

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
TOTAL = "manifest_tokenomics_total_supply"
EXCLUDED = "manifest_tokenomics_excluded_supply"
CONVERSION = "talib_mfx_power_conversion"

MAINNET = {
    TOTAL: "987654321098765432101",
    EXCLUDED: "987000000000000000003",
    "locked_tokens": "15000001",
    "locked_fees": "7000003",
}
TESTNET = {
    TOTAL: "500000000000000000007",
    EXCLUDED: "7",
    "locked_tokens": "11",
    "locked_fees": "13",
}
CIRCULATING = "654321098743432094"
FDV = "605432098833543209877.913"
MARKET_CAP = "401098833529723873.622"

AGGREGATES = {
    "circulating_supply": CIRCULATING,
    "burned_supply": "135304300855652060000",
    "fdv": FDV,
    "market_cap": MARKET_CAP,
}


def scrape(time: datetime, schema: str, supplies: dict[str, str]) -> list[Sample]:
    """The supplies of one tier, and what it burned."""
    exact = [Sample(time, name, 1.0, text, schema) for name, text in supplies.items()]
    return [*exact, Sample(time, "total_mfx_burned", 135304300855652060000.0, schema=schema)]


async def store_two_scrapes(api: Api, *tiers: tuple[str, dict[str, str]]) -> datetime:
    """Two minutes of some tiers and a conversion; the start of the first one."""
    first = await api.minute() - 2 * MINUTE
    for time in (first, first + MINUTE):
        await api.store(Sample(time, CONVERSION, 0.613))
        for schema, supplies in tiers:
            await api.store(*scrape(time, schema, supplies))
    return first


def test_the_expected_figures_follow_from_the_supplies() -> None:
    supplies = {name: Decimal(text) for name, text in MAINNET.items()}
    circulating = 2 * supplies[TOTAL] - sum(supplies.values())
    assert (circulating, supplies[TOTAL] * Decimal("0.613")) == (Decimal(CIRCULATING), Decimal(FDV))
    assert circulating * Decimal("0.613") == Decimal(MARKET_CAP)


async def test_two_tiers_each_exact(api: Api) -> None:
    first = await store_two_scrapes(api, ("mainnet", MAINNET), ("testnet", TESTNET))
    period = ("1 minute", first, first + DAY)
    for what, text in AGGREGATES.items():
        call = f"get_agg_{what}($1, $2::text::interval, $3, $4)"
        assert await api.rows(call, "mainnet", *period) == [(first, text), (first + MINUTE, text)]
        assert await api.rows(call, "common", *period) == []
        latest = f"get_latest_{what}($1)"
        assert await api.rows(latest, "mainnet") == [(first + MINUTE, text)]
        assert len(await api.rows(latest, "testnet")) == 1
        assert await api.rows(latest, "common") == []
    testnet = ["499999999999999999976", "306499999999999999985.288"]
    assert await api.values("get_latest_circulating_supply('testnet')") == testnet[:1]
    assert await api.values("get_latest_market_cap('testnet')") == testnet[1:]


async def test_all_latest_token_metrics_come_in_order(api: Api) -> None:
    first = await store_two_scrapes(api, ("mainnet", MAINNET))
    expected = [
        (first + MINUTE, "circulating_supply", CIRCULATING),
        (first + MINUTE, "fdv", FDV),
        (first + MINUTE, "market_cap", MARKET_CAP),
    ]
    for _ in range(2):
        assert await api.rows("get_all_latest_token_metrics('mainnet')") == expected
        assert await api.rows("get_all_latest_token_metrics('testnet')") == []
        await api.roll_up()


async def test_each_token_metric_has_its_own_newest_minute(api: Api) -> None:
    first = await api.minute() - 3 * MINUTE
    await api.store(
        Sample(first, TOTAL, 1.0, "100", "mainnet"),
        Sample(first, CONVERSION, 0.5),
        Sample(first + MINUTE, "locked_fees", 1.0, "30", "mainnet"),
        Sample(first + MINUTE, CONVERSION, 0.25),
    )
    assert await api.rows("get_latest_fdv('mainnet')") == [(first, "50")]
    assert await api.rows("get_all_latest_token_metrics('mainnet')") == [
        (first + MINUTE, "circulating_supply", "-30"),
        (first, "fdv", "50"),
        (first + MINUTE, "market_cap", "-7.5"),
    ]


async def test_mainnet_values_are_bare_numbers(api: Api) -> None:
    values = [
        "SELECT api.get_latest_mainnet_circulating_supply_value()",
        "SELECT api.get_latest_mainnet_total_supply_value()",
    ]
    assert [await api.connection.fetchval(value) for value in values] == [None, None]
    await store_two_scrapes(api, ("mainnet", MAINNET), ("testnet", TESTNET))
    texts = [str(await api.connection.fetchval(value)) for value in values]
    assert texts == [CIRCULATING, MAINNET[TOTAL]]


async def test_mainnet_values_do_not_expire(api: Api) -> None:
    month_ago = await api.minute() - 30 * DAY
    await api.store(*scrape(month_ago, "mainnet", MAINNET))
    for _ in range(2):
        value = await api.connection.fetchval("SELECT api.get_latest_mainnet_total_supply_value()")
        assert str(value) == MAINNET[TOTAL]
        for what in AGGREGATES:
            assert await api.rows(f"get_latest_{what}('mainnet')") == []
        await api.roll_up()


async def test_a_missing_supply_counts_zero(api: Api) -> None:
    tiers = {f"without_{name}": {k: v for k, v in MAINNET.items() if k != name} for name in MAINNET}
    await store_two_scrapes(api, *tiers.items())
    for missing, tier in zip(MAINNET, tiers, strict=True):
        sign = 1 if missing == TOTAL else -1
        circulating = int(CIRCULATING) - sign * int(MAINNET[missing])
        values = await api.values("get_latest_circulating_supply($1)", tier)
        assert values == [str(circulating)]
        fdv = [] if missing == TOTAL else [FDV]
        assert await api.values("get_latest_fdv($1)", tier) == fdv
        assert len(await api.values("get_latest_market_cap($1)", tier)) == 1


async def test_rows_of_each_bucket(api: Api) -> None:
    start = await api.minute() - 10 * MINUTE
    await api.store(
        Sample(start, TOTAL, 1.0, "100", "mainnet"),
        Sample(start + MINUTE, "locked_fees", 1.0, "30", "mainnet"),
        Sample(start + 2 * MINUTE, CONVERSION, 2.0),
        Sample(start + 3 * MINUTE, TOTAL, 1.0, "50", "mainnet"),
        Sample(start + 3 * MINUTE, CONVERSION, 0.5, schema="testnet"),
        Sample(start + 3 * MINUTE, CONVERSION, 0.25),
    )

    async def rows(what: str, width: str) -> list[tuple[int, str]]:
        call = f"get_agg_{what}('mainnet', $1::text::interval, $2, $3)"
        answer = await api.rows(call, width, start, start + DAY)
        return [((time - start) // MINUTE, value) for time, value in answer]

    assert await rows("circulating_supply", "1 minute") == [(0, "100"), (1, "-30"), (3, "50")]
    assert await rows("fdv", "1 minute") == [(0, "0"), (3, "25")]
    assert await rows("market_cap", "1 minute") == [(0, "0"), (1, "0"), (3, "25")]
    assert await rows("burned_supply", "1 minute") == []
    everything = f"get_agg_fdv('mainnet', '100 years', '{start}', 'infinity')"
    assert await api.values(everything) == ["200"]
    everything = f"get_agg_market_cap('mainnet', '100 years', '{start}', 'infinity')"
    assert await api.values(everything) == ["140"]


async def test_infinite_supplies_give_no_nan(api: Api) -> None:
    start = await api.minute() - MINUTE
    await api.store(
        Sample(start, TOTAL, math.inf, schema="mainnet"),
        Sample(start, "locked_fees", math.inf, schema="mainnet"),
        Sample(start, CONVERSION, 0.0),
    )
    assert await api.values("get_latest_circulating_supply('mainnet')") == [None]
    assert await api.values("get_latest_fdv('mainnet')") == [None]
    assert await api.values("get_latest_market_cap('mainnet')") == [None]


async def test_the_last_day_ends_after_a_day(api: Api) -> None:
    now = await api.minute()
    await api.store(Sample(now - DAY - 2 * MINUTE, TOTAL, 1.0, "1", "mainnet"))
    assert await api.rows("get_latest_circulating_supply('mainnet')") == []
    await api.store(Sample(now - DAY + 10 * MINUTE, TOTAL, 1.0, "2", "mainnet"))
    assert await api.values("get_latest_circulating_supply('mainnet')") == ["2"]
    await api.store(Sample(now + 5 * MINUTE, TOTAL, 1.0, "3", "mainnet"))  # a fast clock
    assert await api.values("get_latest_circulating_supply('mainnet')") == ["3"]
