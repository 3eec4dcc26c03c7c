"""A day is 24 hours, whatever the time zone of the database, the role or the session."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.engines.sql_api import Api, Sample
from tests.support.blocks import switch_off
from tests.support.databases import Database, connect
from tests.support.sql_samples import Samples, samples_of
from tests.support.zones import DAY, PLACES, ZONES, change_days, in_zone

HOUR = timedelta(hours=1)
ROOT = Path(__file__).parents[2]
MIGRATION = ROOT / "sql/engines/postgres/migrations/0010_days_of_24_hours.sql"


CHANGES = [
    pytest.param(zone, place, day, id=f"{zone}-{season}-{place}")
    for zone in ZONES
    for season, day in change_days(zone)
    for place in PLACES
    if place == "session" or zone == ZONES[0]
]
"""Every zone's two changes, set in the session; one zone's also in the two other places."""


async def store(api: Api, *samples: tuple[datetime, float]) -> None:
    await api.store(*[
        Sample(time, "m", value, schema=schema, target=target)
        for target, schema in (("internal", "common"), ("cumsum", "cumsum"))
        for time, value in samples
    ])  # fmt: skip


async def by(api: Api, interval: timedelta, start: datetime, end: datetime) -> list[list[int]]:
    """Maxima, and running totals, oldest first."""
    asked = ("m", interval, start, end)
    maxima = await api.values("get_agg_metric($1, 'common', $2, $3, $4)", *asked)
    totals = await api.values("get_agg_cumsum_metric($1, 'cumsum', $2, $3, $4)", *asked)
    return [[int(value) for value in maxima[::-1]], [int(value) for value in totals]]


@pytest.mark.parametrize(("zone", "place", "day"), CHANGES)
async def test_the_day_of_a_change_has_24_hours(
    engine_db: Database, zone: str, place: str, day: datetime
) -> None:
    """Live and stored; the last hour is of this day, and the next hour is not."""
    if engine_db.one_session and place != "session":
        pytest.skip("PGlite has one session for all: there is only that one's setting")
    samples = [(day + 5 * HOUR, 1.0), (day + 23.5 * HOUR, 10.0), (day + DAY + HOUR / 6, 100.0)]
    async with in_zone(engine_db, zone, place) as database, connect(database) as connection:
        assert await connection.fetchval("SHOW timezone") == zone
        api = Api(database, connection)
        await store(api, *samples)
        for _ in range(2):
            for start, end in ((day, day + 2 * DAY), (day - 2.5 * HOUR, day + 2.2 * DAY)):
                assert await by(api, DAY, start, end) == [[10, 100], [11, 111]]
            days = await connection.fetch("SELECT * FROM cumsum.rollup_1d ORDER BY bucket")
            assert [(row["bucket"], row["sum"]) for row in days] == [(day, 11), (day + DAY, 100)]
            await api.roll_up()


@pytest.mark.parametrize(("zone", "place", "day"), CHANGES)
async def test_no_hour_counts_twice_beside_whole_days(
    engine_db: Database, zone: str, place: str, day: datetime
) -> None:
    """What a question reads in whole days, and in hours before and after them."""
    if engine_db.one_session and place != "session":
        pytest.skip("PGlite has one session for all: there is only that one's setting")
    async with in_zone(engine_db, zone, place) as database, connect(database) as connection:
        api = Api(database, connection)
        await store(api, *[(day - DAY + n * HOUR, 1.0) for n in range(10 * 24)])
        await api.roll_up()
        for hours in (1, 25):
            start = day - DAY + hours * HOUR
            for interval in (DAY, 7 * DAY):
                _, totals = await by(api, interval, start, start + 7 * DAY)
                assert totals[-1] == hours + 7 * 24, (hours, interval)


@pytest.mark.parametrize("zone", ZONES)
async def test_refresh_of_the_day_of_a_change(postgres_db: Database, zone: str) -> None:
    (day,) = [day for season, day in change_days(zone) if season == "spring"]
    async with in_zone(postgres_db, zone, "session") as database, samples_of(database) as samples:
        series = await samples.series("m")
        await samples.copy([(day + n * HOUR, series, 1.0, None) for n in range(-24, 48)])
        await samples.settle()
        await samples.connection.execute("UPDATE internal.stored_1d SET samples = 0")
        await samples.engine.refresh(
            samples.connection, day, day + 23 * HOUR, lambda done, all_: None
        )
        assert await _days(samples) == [0, 24, 0]


async def test_days_that_were_stored_wrong_are_computed_anew(postgres_db: Database) -> None:
    """By a migration, and where raw samples are gone, too."""
    async with samples_of(postgres_db) as samples:
        await switch_off(samples.connection)  # rows that go
        today = await samples.connection.fetchval("SELECT date_trunc('day', now(), 'UTC')")
        day = today - 9 * DAY
        series = await samples.series("m")
        await samples.copy([(day + n * HOUR, series, 1.0, None) for n in range(72)])
        await samples.settle()
        await samples.connection.execute("TRUNCATE internal.hot, internal.stored_1m")
        await samples.connection.execute(
            "UPDATE internal.stored_1d SET samples = 23, sum = 23 WHERE bucket = $1", day
        )
        await samples.connection.execute(
            "DELETE FROM internal.stored_1d WHERE bucket = $1", day + DAY
        )
        await samples.connection.execute(MIGRATION.read_text())
        assert await _days(samples) == [24, 24, 24]
        assert [row["sum"] for row in await samples.rollup("1d", "m")] == [24, 24, 24]


async def _days(samples: Samples) -> list[int]:
    return [row["samples"] for row in await samples.rollup("1d", "m")]
