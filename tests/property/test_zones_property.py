"""Any period at any interval, asked in any time zone: read from the same buckets as in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.databases import Database, blocking, connect

PLAN = "SELECT source, lo, hi FROM internal.read_plan($1::text::interval, $2, $3)"
UNITS = {
    "rollup_1m": timedelta(minutes=1),
    "rollup_1h": timedelta(hours=1),
    "rollup_1d": timedelta(days=1),
}
ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)

intervals = st.sampled_from(["1 day", "24 hours", "7 days", "1 month", "1 year", "90 min", "15 s"])
periods = st.tuples(
    st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 40 * 86400),
)


def test_a_plan_is_the_same_in_every_zone(postgres_db: Database) -> None:
    """Its parts are whole buckets in UTC, touch one another, and are all of the period."""

    async def check(zone: int, interval: str, period: tuple[datetime, int]) -> None:
        start, seconds = period
        asked = (interval, start, start + timedelta(seconds=seconds))
        async with connect(postgres_db) as connection:
            expected = await connection.fetch(PLAN, *asked)
            await connection.execute(
                "SELECT set_config('timezone', name, false) FROM ("
                "  SELECT name, row_number() OVER (ORDER BY name) - 1 AS place, count(*) OVER ()"
                "  FROM pg_timezone_names) AS zone (name, place, zones)"
                f" WHERE place = {zone} % zones"
            )
            assert await connection.fetch(PLAN, *asked) == expected
        edges = [(row["lo"], row["hi"]) for row in expected]
        assert all(before[1] == after[0] for before, after in pairwise(edges))
        assert not edges or (edges[0][0], edges[-1][1]) == asked[1:]
        for row in expected:
            unit = UNITS.get(row["source"], timedelta(microseconds=1))
            assert not (row["lo"] - ORIGIN) % unit
            assert not (row["hi"] - ORIGIN) % unit

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 10_000), intervals, periods)
    def run(zone: int, interval: str, period: tuple[datetime, int]) -> None:
        blocking(check(zone, interval, period))

    run()
