"""Any period at any interval, asked in any time zone: read from the same buckets as in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.databases import Database, blocking, connect
from tests.support.zones import ZONES, change_days

PLAN = "SELECT source, lo, hi FROM internal.read_plan($1::text::interval, $2, $3)"
UNITS = {
    "rollup_1m": timedelta(minutes=1),
    "rollup_1h": timedelta(hours=1),
    "rollup_1d": timedelta(days=1),
}
ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)

intervals = st.sampled_from(["1 day", "24 hours", "7 days", "1 month", "1 year", "90 min", "15 s"])
CHANGES = [(zone, day) for zone in ZONES for _, day in change_days(zone)]
days = st.sampled_from(CHANGES)
"""A zone, and a UTC day within which its clocks were changed."""
seconds = st.integers(-2, 2).map(lambda hour: hour * 3600) | st.integers(-2 * 86400, 2 * 86400)
lengths = st.integers(24, 100).map(lambda hours: hours * 3600) | st.integers(0, 10 * 86400)


def test_a_plan_is_the_same_in_every_zone(postgres_db: Database) -> None:
    """Its parts are whole buckets in UTC, touch one another, and are all of the period."""

    async def check(zone: str, interval: str, start: datetime, end: datetime) -> None:
        asked = (interval, start, end)
        async with connect(postgres_db) as connection:
            expected = await connection.fetch(PLAN, *asked)
            await connection.execute(f"SET timezone = '{zone}'")
            assert await connection.fetch(PLAN, *asked) == expected
        edges = [(row["lo"], row["hi"]) for row in expected]
        assert all(before[1] == after[0] for before, after in pairwise(edges))
        assert not edges or (edges[0][0], edges[-1][1]) == asked[1:]
        for row in expected:
            unit = UNITS.get(row["source"], timedelta(microseconds=1))
            assert not (row["lo"] - ORIGIN) % unit
            assert not (row["hi"] - ORIGIN) % unit

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(days, intervals, seconds, lengths)
    def run(day: tuple[str, datetime], interval: str, offset: int, length: int) -> None:
        zone, midnight = day
        start = midnight + timedelta(seconds=offset)
        blocking(check(zone, interval, start, start + timedelta(seconds=length)))

    run()
