"""get_latest_geo_coordinates: one row an instance, whole."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from tests.engines.sql_api import Api, Sample

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
BERLIN = {"country_name": "Germany", "city": "Berlin"}
QUITO = {"country_name": "Ecuador", "city": "Quito"}


def geo(time: datetime, metric: str, value: float, instance: str, **labels: str) -> Sample:
    """A sample of target geo."""
    return Sample(
        time,
        f"manifest_geo_{metric}",
        value,
        schema="geo",
        target="geo",
        labels={"instance": instance, **labels},
    )


def place(
    time: datetime, instance: str, latitude: float, longitude: float, **labels: str
) -> list[Sample]:
    """All three metrics of one scrape."""
    return [
        geo(time, "latitude", latitude, instance),
        geo(time, "longitude", longitude, instance),
        geo(time, "metadata", 1, instance, **labels),
    ]


async def test_one_row_an_instance(api: Api) -> None:
    now = await api.minute()
    await api.store(
        *place(now - MINUTE, "b:9100", -0.18065, -78.46784, **QUITO),
        *place(now - 2 * MINUTE, "a:9100", 1.0, 2.0, **QUITO),
        *place(now - MINUTE, "a:9100", 52.52, 13.405, **BERLIN),
        *place(now - 40 * DAY, "C:9100", 3.0, 4.0, **QUITO),
    )
    assert await api.rows("get_latest_geo_coordinates()") == [
        (3.0, 4.0, "Ecuador", "Quito"),
        (52.52, 13.405, "Germany", "Berlin"),
        (-0.18065, -78.46784, "Ecuador", "Quito"),
    ]


async def test_a_scrape_that_straddles_a_minute_keeps_its_city(api: Api) -> None:
    now = await api.minute()
    await api.store(
        geo(now - MINUTE - SECOND, "metadata", 1, "a", **BERLIN),
        geo(now - MINUTE, "latitude", 52.52, "a"),
        geo(now - SECOND, "longitude", 13.405, "a"),
    )
    assert await api.rows("get_latest_geo_coordinates()") == [(52.52, 13.405, "Germany", "Berlin")]


async def test_whoever_moves_is_where_it_is_now(api: Api) -> None:
    now = await api.minute()
    await api.store(*place(now - 3 * MINUTE, "a", 52.52, 13.405, **BERLIN))
    await api.store(*place(now - MINUTE, "a", -0.18065, -78.46784, **QUITO))
    await api.store(
        geo(now, "latitude", math.nan, "a"), geo(now, "metadata", math.nan, "a", **BERLIN)
    )
    assert await api.rows("get_latest_geo_coordinates()") == [
        (-0.18065, -78.46784, "Ecuador", "Quito")
    ]


async def test_metadata_may_be_missing_coordinates_may_not(api: Api) -> None:
    now = await api.minute()
    await api.store(
        *place(now, "no labels", 1.0, 2.0),
        *place(now, "no metadata", 3.0, 4.0)[:2],
        *place(now, "no latitude", 5.0, 6.0, **BERLIN)[1:],
        Sample(now, "manifest_geo_latitude", 7.0, schema="geo", target="geo"),
        Sample(now, "manifest_geo_longitude", 8.0, schema="geo", target="geo"),
    )
    assert await api.rows("get_latest_geo_coordinates()") == [
        (7.0, 8.0, None, None),
        (1.0, 2.0, None, None),
        (3.0, 4.0, None, None),
    ]
