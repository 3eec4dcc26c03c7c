"""Views with the names of the old stack, and the newest coordinates."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.support.databases import Database
from tests.support.sql_samples import Samples, samples_of

MINUTE = timedelta(minutes=1)
START = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=5)


@pytest.fixture
async def samples(engine_db: Database) -> AsyncIterator[Samples]:
    async with samples_of(engine_db) as opened:
        yield opened


async def rows(samples: Samples, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await samples.connection.fetch(query)]


async def test_wide_samples_and_their_labels(samples: Samples) -> None:
    one = await samples.series("m", a="1")
    two = await samples.series("t", target="cumsum", schema="cumsum")
    exact = Decimal("987654321098765432101")
    await samples.copy(
        [
            (START, one, 135304300855652060000.0, None),
            (START + MINUTE, one, 9e20, exact),
            (START + 2 * MINUTE, one, math.nan, None),
            (START + 3 * MINUTE, one, math.inf, None),
        ]
    )
    await samples.copy([(START, two, 0.379, None)], "cumsum")
    found = "SELECT time, tag_id, name, schema, value FROM {}.prometheus_remote_write ORDER BY time"
    assert await rows(samples, found.format("internal")) == [
        (START, one, "m", "common", Decimal(135304300855652060000)),
        (START + MINUTE, one, "m", "common", exact),
        (START + 3 * MINUTE, one, "m", "common", Decimal("Infinity")),
    ]
    assert await rows(samples, found.format("cumsum")) == [
        (START, two, "t", "cumsum", Decimal("0.379"))
    ]
    tags = "SELECT tag_id, labels ->> 'a' FROM internal.prometheus_remote_write_tag ORDER BY 1"
    assert await rows(samples, tags) == [(one, "1"), (two, None)]
    async with samples.connection.transaction():
        await samples.connection.execute("SET LOCAL promgres.tenant_id = '2'")
        for view in ("internal.prometheus_remote_write", "internal.prometheus_remote_write_tag"):
            assert await rows(samples, f"SELECT * FROM {view}") == []


async def test_minutes_of_the_old_names(samples: Samples) -> None:
    supply = await samples.series("manifest_tokenomics_total_supply", schema="mainnet")
    other = await samples.series("up", schema="mainnet")
    exact = Decimal("987654321098765432101")
    await samples.copy(
        [
            (START, supply, 9e20, exact),
            (START, other, 2.5, None),
            (START + timedelta(seconds=1), other, 0.1, None),
        ]
    )
    total = await samples.series("web_requests", target="cumsum", schema="cumsum")
    await samples.copy([(START + n * MINUTE / 4, total, 0.1, None) for n in range(8)], "cumsum")
    for _ in range(2):
        assert await rows(samples, "SELECT * FROM internal.cagg_calculated_metric") == [
            (START, "manifest_tokenomics_total_supply", "mainnet", exact)
        ]
        assert await rows(samples, "SELECT * FROM internal.prometheus_mainnet_1m ORDER BY 2") == [
            (START, "manifest_tokenomics_total_supply", exact),
            (START, "up", Decimal("0.1")),
        ]
        assert await rows(samples, "SELECT * FROM internal.prometheus_testnet_1m") == []
        assert await rows(samples, "SELECT * FROM cumsum.all_metrics_minute ORDER BY 1") == [
            (START, "web_requests", "cumsum", Decimal("0.4")),
            (START + MINUTE, "web_requests", "cumsum", Decimal("0.4")),
        ]
        await samples.settle()


async def place(
    samples: Samples, instance: str, moment: datetime, latitude: float, longitude: float
) -> None:
    """Both coordinates of an instance at one moment."""
    for name, value in (("latitude", latitude), ("longitude", longitude)):
        series = await samples.series(
            f"manifest_geo_{name}", schema="geo", target="geo", instance=instance
        )
        await samples.copy([(moment, series, value, None)], "geo")


async def metadata(
    samples: Samples, instance: str, moment: datetime, country: str, city: str
) -> None:
    series = await samples.series(
        "manifest_geo_metadata",
        schema="geo",
        target="geo",
        instance=instance,
        country_name=country,
        city=city,
    )
    await samples.copy([(moment, series, 1.0, None)], "geo")


COORDS = (
    "SELECT bucket, tenant_id, instance, latitude, longitude, country_name, city"
    " FROM geo.latest_coords ORDER BY instance"
)


async def test_where_each_instance_is_now(samples: Samples) -> None:
    assert await rows(samples, COORDS) == []
    await place(samples, "a", START, 46.5, 6.6)
    await place(samples, "a", START + 5 * MINUTE, 46.8, 8.2)
    await metadata(samples, "a", START, "Switzerland", "Lausanne")
    await metadata(samples, "a", START + 5 * MINUTE, "Switzerland", "Lucerne")
    await place(samples, "b", START + timedelta(seconds=59), -33.9, 151.2)
    assert await rows(samples, COORDS) == [
        (START + 5 * MINUTE, 1, "a", 46.8, 8.2, "Switzerland", "Lucerne"),
        (START, 1, "b", -33.9, 151.2, None, None),
    ]


async def test_a_coordinate_alone_does_not_move_an_instance(samples: Samples) -> None:
    """The latitude of the next minute may be committed before the longitude is."""
    await place(samples, "a", START, 46.5, 6.6)
    latitude = await samples.series(
        "manifest_geo_latitude", schema="geo", target="geo", instance="a"
    )
    await samples.copy([(START + MINUTE, latitude, 50.0, None)], "geo")
    assert await rows(samples, COORDS) == [(START, 1, "a", 46.5, 6.6, None, None)]
    await place(samples, "a", START + timedelta(minutes=1, seconds=1), 51.0, 7.0)
    assert await rows(samples, COORDS) == [(START + MINUTE, 1, "a", 51.0, 7.0, None, None)]
