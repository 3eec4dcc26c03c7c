"""Measures read as metrics: the functions of schema api see them beside Prometheus series."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.engines.record_rows import Measure, as_tenant, push
from tests.engines.sql_api import Api, Sample

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
LARGE = "987654321098765432101.5"
SUPPLIES = (
    "manifest_tokenomics_total_supply",
    "manifest_tokenomics_excluded_supply",
    "locked_tokens",
    "locked_fees",
    "total_mfx_burned",
    "talib_mfx_power_conversion",
)
PERIODS = [
    ("1 second", -1 * HOUR, HOUR),
    ("1 minute", -1 * DAY, 1 * DAY),
    ("17 minutes", -1 * DAY, 1 * DAY),
    ("1 day", -40 * DAY, DAY),
    ("1 month", -400 * DAY, DAY),
]


async def new_tenant(api: Api, name: str) -> int:
    """A tenant's id."""
    insert = "INSERT INTO app.tenant (name) VALUES ($1) RETURNING tenant_id"
    return int(await api.connection.fetchval(insert, name))


def samples_at_random(now: datetime, tenant_id: int) -> list[Sample]:
    """Samples of a few metrics over weeks, no two of a metric at one time."""
    random, samples, seen = Random(11), [], set()
    kinds = [("internal", schema, name) for schema in ("mainnet", "common") for name in SUPPLIES]
    kinds += [("cumsum", "cumsum", "web_requests"), ("cumsum", "other", "b")] * 3
    for target, schema, name in kinds * 12:
        age = timedelta(milliseconds=round(10 ** random.uniform(2, 9.3)))
        if (name, age) in seen:
            continue
        seen.add((name, age))
        value = random.choice((60.0, 0.1, -2.5, 1e22, float(random.randrange(1000))))
        exact = LARGE if random.random() < 0.1 else None
        samples.append(Sample(now - age, name, value, exact, schema, target, tenant_id=tenant_id))
    return samples


def as_measure(sample: Sample, tenant_id: int) -> Measure:
    """The same as an application would push it; metrics are in lower case, measures need not be."""
    return Measure(
        sample.time,
        sample.name.title(),
        sample.value,
        sample.exact,
        target=sample.target,
        schema=sample.schema,
        tenant_id=tenant_id,
    )


async def everything(api: Api, now: datetime) -> dict[str, list[Any]]:
    """What every function of metrics says."""
    answers: dict[str, list[Any]] = {}
    for width, lo, hi in PERIODS:
        period = (width, now + lo, now + hi)
        for call in (
            *(f"get_agg_metric('{name}', 'mainnet', " for name in SUPPLIES[:2]),
            "get_agg_metric('Locked_Tokens', 'common', ",
            "get_agg_cumsum_metric('web_requests', 'cumsum', ",
            "get_agg_cumsum_metric('b', 'other', ",
            *(f"get_agg_{kind}('mainnet', " for kind in ("circulating_supply", "burned_supply")),
            *(f"get_agg_{kind}('mainnet', " for kind in ("fdv", "market_cap")),
        ):
            rows = await api.rows(f"{call}$1::text::interval, $2, $3)", *period)
            answers[f"{call}{width})"] = rows
    for call in (
        "get_all_latest_mainnet_metrics()",
        "get_all_latest_common_metrics()",
        "get_all_latest_cumsum_metrics()",
        "get_all_latest_token_metrics('mainnet')",
        "get_latest_mainnet_circulating_supply_value()",
        "get_latest_mainnet_total_supply_value()",
        "get_latest_fdv('mainnet')",
        "get_latest_burned_supply('mainnet')",
    ):
        answers[call] = await api.rows(call)
    return answers


async def test_a_measure_counts_as_a_sample_would(api: Api) -> None:
    """One tenant has samples alone, one half of them as measures, one nothing but measures."""
    now = await api.minute() + 30 * SECOND
    tenants = [await new_tenant(api, name) for name in ("samples", "both", "measures")]
    random = Random(5)
    samples = samples_at_random(now, tenants[0])
    await api.store(*samples)
    for tenant_id, share in zip(tenants[1:], (0.5, 0.0), strict=True):
        kept = [one for one in samples if random.random() < share]
        moved = [as_measure(one, tenant_id) for one in samples if one not in kept]
        if kept:
            await api.store(*(replace(one, tenant_id=tenant_id) for one in kept))
        await push(api, *moved)
    for _ in range(2):
        answers = []
        for tenant_id in tenants:
            async with as_tenant(api, tenant_id):
                answers.append(await everything(api, now))
        assert answers[1] == answers[0]
        assert answers[2] == answers[0]
        assert sum(bool(rows) for rows in answers[0].values()) > 40
        await api.roll_up()
    async with as_tenant(api, 1):
        assert [call for call, rows in (await everything(api, now)).items() if rows] == [
            "get_latest_mainnet_circulating_supply_value()",  # a row, of null
            "get_latest_mainnet_total_supply_value()",
        ]


async def test_the_newest_of_a_minute_is_a_sample_or_a_measure(api: Api) -> None:
    minute = await api.minute() - MINUTE
    names = ["exact", "exact_measure", "later", "same_time", "sample_later"]
    await api.store(
        Sample(minute, "exact", 1, "7"),
        Sample(minute, "exact_measure", 1, "7"),
        Sample(minute, "later", 1),
        Sample(minute + SECOND, "same_time", 1),
        Sample(minute + 5 * SECOND, "sample_later", 1),
        Sample(minute + MINUTE, "newer_minute", 4),
    )
    await push(
        api,
        *(Measure(minute + SECOND, name, 3) for name in names if name != "exact_measure"),
        Measure(minute + SECOND, "exact_measure", 3, "3"),
        Measure(minute, "newer_minute", 9),
        Measure(minute - 3 * DAY, "Old", 2),
        Measure(minute, "old", math.nan),
    )
    for _ in range(2):
        assert await api.rows("get_all_latest_common_metrics()") == [
            (minute, "exact", "7"),
            (minute, "exact_measure", "3"),
            (minute, "later", "3"),
            (minute + MINUTE, "newer_minute", "4"),
            (minute - 3 * DAY, "old", "2"),
            (minute, "same_time", "3"),
            (minute, "sample_later", "1"),
        ]
        await api.roll_up()


async def test_names_in_any_case_are_one_metric(api: Api) -> None:
    await push(
        api,
        Measure(MONDAY, "Queue_Length", 1),
        Measure(MONDAY, "queue_length", 2),
        Measure(MONDAY + SECOND, "queue_length", 5, schema="mainnet"),
    )
    call = "get_agg_metric($1, $2, '1 minute', '-infinity', 'infinity')"
    assert await api.rows(call, "QUEUE_length", "common") == [(MONDAY, "2")]
    assert await api.rows(call, "queue_length", "mainnet") == [(MONDAY, "5")]
    assert await api.rows(call, "queue_length", "testnet") == []


async def test_a_total_has_every_digit_of_both(api: Api) -> None:
    counted: dict[str, Any] = {"target": "cumsum", "schema": "cumsum"}
    await api.store(Sample(MONDAY, "c", 0.1, **counted), Sample(MONDAY + DAY, "c", 1e22, **counted))
    await push(
        api,
        Measure(MONDAY - 90 * DAY, "c", 9.87e20, LARGE, **counted),
        Measure(MONDAY + HOUR, "C", 0.2, **counted),
        Measure(MONDAY + HOUR, "c", math.inf, **counted),
        Measure(MONDAY + HOUR, "c", 9, target="internal", schema="cumsum"),
    )
    call = "get_agg_cumsum_metric('c', 'cumsum', '1 day', $1, $2)"
    for _ in range(2):
        assert await api.rows(call, MONDAY, MONDAY + 9 * DAY) == [
            (MONDAY, "987654321098765432101.8"),
            (MONDAY + DAY, "10987654321098765432101.8"),
        ]
        latest = [row[1:] for row in await api.rows("get_all_latest_cumsum_metrics()")]
        assert latest == [("c", "10987654321098765432101.8")]
        await api.roll_up()
