"""`promgres refresh`, and late samples in compressed chunks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ingest.cli.main import cli
from ingest.migrate import migrate
from tests.support.blocks import switch_off
from tests.support.databases import Database
from tests.support.hours import make_hours
from tests.support.processes import PROMGRES, run
from tests.support.sql_samples import Samples, plain, samples_of

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
WIDTHS = ("1m", "1h", "1d")


async def total(samples: Samples, width: str) -> int:
    return sum(row["samples"] for row in await samples.rollup(width, "m"))


async def test_rows_deleted_by_hand_leave_the_rollups(engine_db: Database) -> None:
    async with samples_of(engine_db) as samples:
        await switch_off(samples.connection)
        series = await samples.series("m")
        times = [TODAY - 3 * DAY + n * timedelta(hours=1) for n in range(60)]
        await samples.copy([(time, series, 1.0, None) for time in times])
        await samples.settle()
        await samples.connection.execute(
            f"DELETE FROM internal.{engine_db.samples_in} WHERE time >= $1 AND time < $2",
            times[5],
            times[40],
        )
        seen: list[tuple[int, int]] = []
        await samples.engine.refresh(
            samples.connection, times[0], times[-1], lambda done, all_: seen.append((done, all_))
        )
        assert seen[0][0] == 0
        assert seen[-1][0] == seen[-1][1]
        for width, buckets in zip(WIDTHS, (25, 25, 3), strict=True):
            assert await total(samples, width) == 25
            assert len(await samples.rollup(width, "m")) == buckets


async def test_the_command(engine_db: Database) -> None:
    async with samples_of(engine_db) as samples:
        await switch_off(samples.connection)
        series = await samples.series("m")
        await samples.copy([(TODAY - 2 * DAY, series, 1.0, None)])
        await samples.settle()
        await samples.connection.execute(f"TRUNCATE internal.{engine_db.samples_in}")
    assert "refresh" in cli.list_commands(None)  # type: ignore[arg-type]
    done = run(
        PROMGRES, "refresh", "--from", f"{TODAY - 3 * DAY:%Y-%m-%d}",
        env=dict(engine_db.environment()),
    )  # fmt: skip
    assert (done.process.returncode, done.stdout[:12]) == (0, "rollups from"), done.stderr
    async with samples_of(engine_db) as samples:
        for width in WIDTHS:
            assert await samples.rollup(width, "m") == []


HOURS = "SELECT * FROM internal.series_hour ORDER BY series_id, hour"


async def test_hours_of_series_are_made_again(engine_db: Database) -> None:
    """Of the days that the period touches, and of no other."""
    async with samples_of(engine_db) as samples:
        await switch_off(samples.connection)
        one, other = await samples.series("m", n="1"), await samples.series("m", n="2")
        first = TODAY - 4 * DAY
        times = [first + n * timedelta(minutes=1) for n in range(2 * 1440)]
        await samples.copy([(time, each, 1.0, None) for each in (one, other) for time in times])
        await make_hours(samples.connection, TODAY)
        before = await samples.connection.fetch(HOURS)
        assert len(before) == 2 * 48
        await samples.connection.execute("UPDATE internal.series_hours SET nans = ARRAY[7]")
        await samples.connection.execute(
            "DELETE FROM internal.series_hours WHERE series_id = $1 AND day = $2", other, first
        )
        moment = first + timedelta(hours=9)
        await samples.engine.refresh(
            samples.connection, moment, moment + timedelta(hours=1), lambda done, all_: None
        )
        await make_hours(samples.connection, TODAY)  # what an autovacuum has held up
        after = await samples.connection.fetch(HOURS)
        for was, is_ in zip(before, after, strict=True):
            expected = dict(was) | ({} if was["hour"] < first + DAY else {"nans": 7})
            assert dict(is_) == expected


async def test_late_samples_in_compressed_chunks(timescale_db: Database) -> None:
    async with samples_of(timescale_db) as samples:
        series = await samples.series("m")
        old = TODAY - 40 * DAY
        rows = [(old + n * timedelta(seconds=30), series, 1.0, None) for n in range(500)]
        await samples.copy(rows)
        await samples.settle()
        for job in await samples.connection.fetch(
            "SELECT job_id FROM timescaledb_information.jobs"
            " WHERE proc_name IN ('policy_compression', 'compress_rollups')"
        ):
            await samples.connection.execute(f"CALL run_job({job['job_id']})")
        compressed = await samples.connection.fetch(
            "SELECT DISTINCT hypertable_schema FROM timescaledb_information.chunks"
            " WHERE is_compressed ORDER BY 1"
        )
        assert [row[0] for row in compressed] == [
            "_timescaledb_internal",
            "internal",
        ]  # rollups too
        assert await samples.copy(rows) == 0
        late = [(time + timedelta(seconds=1), *rest) for time, *rest in rows]
        assert await samples.copy([*rows, *late]) == 500  # type: ignore[list-item]
        await samples.settle()
        for width in WIDTHS:
            assert await total(samples, width) == 1000
        [day] = plain(await samples.rollup("1d", "m"), "bucket", "samples")
        assert day == (old, 1000)


async def test_refresh_needs_a_migrated_database(empty_postgres_db: Database) -> None:
    environment = dict(empty_postgres_db.environment())
    refused = run(PROMGRES, "refresh", env=environment)
    assert refused.process.returncode == 2
    assert refused.stderr == "promgres: the database is not migrated: promgres migrate\n"
    await migrate(empty_postgres_db.url, empty_postgres_db.settings())
    empty = run(PROMGRES, "refresh", env=environment)
    assert (empty.process.returncode, empty.stdout) == (0, "no samples in this period\n")
