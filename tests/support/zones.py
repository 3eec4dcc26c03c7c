"""Time zones whose clocks change, and databases whose sessions live in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from tests.support.databases import Database, connect, execute

ZONES = ("Europe/Vienna", "America/New_York", "Australia/Lord_Howe")
"""An hour in either hemisphere's summer; half an hour on Lord Howe Island."""

PLACES = ("database", "role", "session")
"""Where a time zone may be set."""

DAY = timedelta(days=1)


def change_days(zone: str) -> Iterator[tuple[str, datetime]]:
    """The last spring and autumn change of a zone: the season, and midnight (UTC) of the UTC day
    within which the clocks were changed."""
    place = ZoneInfo(zone)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    missing = {"spring", "autumn"}
    for back in range(3, 300):
        day = today - back * DAY
        before, after = (at.astimezone(place).utcoffset() for at in (day, day + DAY))
        assert before is not None
        assert after is not None
        season = "spring" if after > before else "autumn"
        if before != after and season in missing:
            missing.remove(season)
            yield season, day


@asynccontextmanager
async def in_zone(database: Database, zone: str, place: str) -> AsyncIterator[Database]:
    """A database whose new sessions are in the zone, because the database, the role or the
    connection says so. PGlite has one session for all: there it is that one's setting."""
    if database.one_session:
        async with connect(database) as connection:
            await connection.execute(f"SET timezone = '{zone}'")
            try:
                yield database
            finally:
                await connection.execute("RESET timezone")
        return
    if place == "session":
        glue = "&" if "?" in database.url else "?"
        yield replace(database, url=f"{database.url}{glue}timezone={quote(zone, safe='')}")
        return
    async with connect(database) as connection:
        name = await connection.fetchval("SELECT quote_ident(current_database())")
    whose = f"ROLE postgres IN DATABASE {name}" if place == "role" else f"DATABASE {name}"
    await execute(database.url, f"ALTER {whose} SET timezone = '{zone}'")
    yield database
    await execute(database.url, f"ALTER {whose} RESET timezone")
