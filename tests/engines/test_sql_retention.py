"""Dropping raw samples never touches hours and days, and late samples at the edge harm none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ingest.config import RetentionSettings
from ingest.migrate import migrate
from ingest.storage.engine import Horizon, to_ms
from ingest.storage.engines import load_engine
from tests.support.databases import Database, connect
from tests.support.sql_samples import Samples, samples_of
from tests.support.sql_samples import drop_expired as run_retention_job

DAY = timedelta(days=1)


def midnight() -> datetime:
    """The start of this day; asked in the test, since a test run may see two days."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


KEPT_DAYS = 30


async def keep(database: Database, days: int | None) -> None:
    """Migrate with another retention of `internal`."""
    retention = RetentionSettings(internal_days=days, compress_after_days=None)
    await migrate(database.url, database.settings(retention=retention))


async def drop_expired(samples: Samples) -> None:
    """What the database or the daemon does about old raw samples by itself."""
    if samples.engine.name == "timescaledb":
        await run_retention_job(samples.connection)
        return
    worker = await load_engine(samples.connection, samples.database.settings())
    left: list[int] = []
    while len(left) < 3 or left[-3] > left[-1]:  # two partitions of each store a round
        worker._housekeeping_due = 0.0  # type: ignore[attr-defined]
        await worker.work(samples.pool)
        left.append(await samples.connection.fetchval("SELECT count(*) FROM pg_inherits"))


async def counts(samples: Samples, since: datetime, until: datetime) -> dict[str, Any]:
    """Samples of metric m by width, and raw ones."""
    found: dict[str, Any] = {
        width: await samples.connection.fetchval(
            f"SELECT coalesce(sum(samples), 0)::int FROM internal.rollup_{width}"
            " WHERE name = 'm' AND bucket >= $1 AND bucket < $2",
            since,
            until,
        )
        for width in ("1m", "1h", "1d")
    }
    found["raw"] = await samples.connection.fetchval(
        "SELECT count(*) FROM internal.sample WHERE time >= $1 AND time < $2", since, until
    )
    return found


async def test_hours_and_days_outlive_raw_samples(engine_db: Database) -> None:
    today = midnight()
    async with samples_of(engine_db) as samples:
        series = await samples.series("m")
        times = [today - n * DAY / 4 for n in range(4 * 45)]
        await samples.copy([(time, series, 1.0, None) for time in times])
        await samples.settle()
    await keep(engine_db, KEPT_DAYS)
    async with samples_of(engine_db) as samples:
        await drop_expired(samples)
        now_ms = to_ms(datetime.now(UTC))
        horizon_ms = samples.engine.horizons.start_ms("internal", now_ms)
        assert horizon_ms == to_ms(today - (KEPT_DAYS - 1) * DAY)
        horizon = today - (KEPT_DAYS - 1) * DAY
        gone = await counts(samples, today - 45 * DAY, today - (KEPT_DAYS + 1) * DAY)
        # A chunk of TimescaleDB's minutes is ten days long, and goes when all of it is expired.
        assert gone.pop("1m") <= (40 if engine_db.engine == "timescaledb" else 0)
        assert gone == {"raw": 0, "1h": 55, "1d": 55}
        # The oldest sample that is accepted has all its neighbours: its day stays whole.
        await samples.copy([(horizon + timedelta(hours=3), series, 1.0, None)])
        await samples.settle()
        assert await counts(samples, horizon, horizon + DAY) == dict.fromkeys(
            ("raw", "1m", "1h", "1d"), 5
        )
        everything = await counts(samples, today - 90 * DAY, today + DAY)
        assert everything["1h"] == everything["1d"] == len(times) + 1


async def test_a_longer_retention_does_not_bring_back_what_is_gone(engine_db: Database) -> None:
    today = midnight()
    async with samples_of(engine_db) as samples:
        series = await samples.series("m")
        times = [today - n * DAY / 4 for n in range(4 * 45)]
        await samples.copy([(time, series, 1.0, None) for time in times])
        await samples.settle()
    await keep(engine_db, KEPT_DAYS)
    async with samples_of(engine_db) as samples:
        await drop_expired(samples)
        before = await counts(samples, today - 90 * DAY, today + DAY)
    await keep(engine_db, 365)
    async with samples_of(engine_db) as samples:
        since_ms = samples.engine.horizons.start_ms("internal", to_ms(datetime.now(UTC)))
        assert since_ms >= to_ms(today - KEPT_DAYS * DAY)
        start, end = today - 90 * DAY, datetime.now(UTC)
        await samples.engine.refresh(samples.connection, start, end, lambda *_: None)
        await samples.settle()
        after = await counts(samples, today - 90 * DAY, today + DAY)
        assert (after["1h"], after["1d"]) == (before["1h"], before["1d"])


async def test_partitions_with_marks_are_not_dropped(postgres_db: Database) -> None:
    today = midnight()
    async with samples_of(postgres_db) as samples:
        series = await samples.series("m")
        old = today - 50 * DAY
        await samples.copy([(old, series, 1.0, None)])
        await keep(postgres_db, KEPT_DAYS)
        drop = "SELECT internal.drop_expired_partitions('internal')"
        assert await samples.connection.fetchval(drop) == 0
        await samples.settle()  # stores the day, then drops its partition
        assert await samples.connection.fetchval("SELECT count(*) FROM internal.sample") == 0
        assert (await counts(samples, old, old + DAY))["1d"] == 1
        with pytest.raises(asyncpg.DatetimeFieldOverflowError, match="are gone"):
            await samples.connection.fetchval(
                "SELECT internal.ensure_partitions('internal', $1, $1)", old
            )


async def test_dropping_gives_way_to_long_readers(postgres_db: Database) -> None:
    today = midnight()
    async with samples_of(postgres_db) as samples, connect(postgres_db) as reader:
        series = await samples.series("m")
        await samples.copy([(today - 50 * DAY, series, 1.0, None)])
        await samples.settle()
        await keep(postgres_db, KEPT_DAYS)
        async with reader.transaction():
            await reader.fetch("SELECT * FROM internal.sample")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await samples.connection.fetchval(
                    "SELECT internal.drop_expired_partitions('internal')"
                )
            await drop_expired(samples)  # no error, no partition
        assert await samples.connection.fetchval("SELECT count(*) FROM internal.sample") == 1
        await drop_expired(samples)
        assert await samples.connection.fetchval("SELECT count(*) FROM internal.sample") == 0


async def test_months_and_days_of_partitions_live_together(postgres_db: Database) -> None:
    """A target that was kept for ever gets a retention, and loses it again."""
    async with samples_of(postgres_db) as samples:

        async def make(start: datetime, end: datetime) -> int:
            return await samples.connection.fetchval(
                "SELECT internal.ensure_partitions('internal', $1, $2)", start, end
            )

        march = datetime(2026, 3, 10, tzinfo=UTC)
        await keep(postgres_db, None)
        assert await make(march, march + 20 * DAY) == 1
        await keep(postgres_db, 365)
        assert await make(march, march + 25 * DAY) == 4  # April 1 to 4
        await keep(postgres_db, None)
        assert await make(march, march + 60 * DAY) == 26 + 1  # the rest of April, and May
        assert await make(march, march + 60 * DAY) == 0


def test_a_horizon_begins_with_a_day() -> None:
    now_ms = to_ms(datetime(2026, 3, 10, 15, 30, tzinfo=UTC))
    assert Horizon(None, 123).start_ms(now_ms) == 123
    assert Horizon(2, 0).start_ms(now_ms) == to_ms(datetime(2026, 3, 9, tzinfo=UTC))
    late = to_ms(datetime(2026, 3, 10, tzinfo=UTC))
    assert Horizon(2, late).start_ms(now_ms) == late
