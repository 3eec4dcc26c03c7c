"""The jobs of engine timescaledb: nothing is read from half a refresh, or dropped before one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ingest.config import RetentionSettings
from ingest.migrate import migrate
from ingest.sqlfiles import sql_root
from tests.support.databases import Database, connect
from tests.support.sql_samples import Samples, drop_expired, samples_of

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WIDTHS = ("1m", "1h", "1d")

STORED = """
    SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = 'internal' AND view_name = $1
"""

UNTIL_2_20 = """
    ALTER EXTENSION timescaledb DROP PROCEDURE public.refresh_continuous_aggregate;
    ALTER PROCEDURE public.refresh_continuous_aggregate RENAME TO refresh_of_today;
    CREATE TABLE internal.call (name text, force boolean, log_level text);
    CREATE PROCEDURE public.refresh_continuous_aggregate(
        continuous_aggregate regclass, window_start timestamptz, window_end timestamptz,
        force boolean DEFAULT false)
    LANGUAGE sql AS $$
        INSERT INTO internal.call
        VALUES (continuous_aggregate::text, force, current_setting('log_min_messages'))
    $$;
"""
"""The procedure as it was before it took options; what it was asked, and how loud the log was."""

WAITS_FOR_WRITERS = """
    SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'ShareLock' AND NOT granted
        AND relation = 'internal.sample'::regclass)
"""

ADVISORY_LOCKS = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted = $1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def totals(samples: Samples) -> list[int]:
    """Samples of metric m by the minutes, the hours, and the days."""
    return [sum(row["samples"] for row in await samples.rollup(each, "m")) for each in WIDTHS]


async def keep(database: Database, days: int) -> None:
    retention = RetentionSettings(internal_days=days, compress_after_days=None)
    await migrate(database.url, database.settings(retention=retention))


@pytest.fixture
async def resting(native_db: Database) -> AsyncIterator[Samples]:
    """Many backends, and jobs that run when they are called."""
    async with samples_of(native_db) as samples:
        await samples.connection.execute(
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
        )
        yield samples


async def test_a_refresh_is_one_transaction(timescale_db: Database) -> None:
    """TimescaleDB from 2.28 on makes a transaction of ten buckets, unless it is told otherwise."""
    async with samples_of(timescale_db) as samples:
        series = await samples.series("m")
        start = today() - 5 * DAY
        await samples.copy([(start + n * HOUR, series, 1.0, None) for n in range(120)])
        await samples.settle()
        for width, buckets in zip(WIDTHS, (120, 120, 5), strict=True):
            stored = await samples.connection.fetchval(STORED, f"parts_{width}")
            row = await samples.connection.fetchrow(
                f"SELECT count(*) AS buckets, count(DISTINCT xmin::text) AS writers FROM {stored}"
            )
            assert tuple(row) == (buckets, 1)
        await samples.connection.execute(
            "CALL internal.refresh_period('internal', $1, $2)", start, start + 5 * DAY
        )
        assert await totals(samples) == [120, 120, 120]


def test_nothing_else_refreshes() -> None:
    """One procedure knows how."""
    callers = [
        path.relative_to(sql_root()).as_posix()
        for path in sql_root().rglob("*.sql")
        if "refresh_continuous_aggregate(" in path.read_text()
    ]
    assert callers == ["engines/timescaledb/rollups/job.sql"]
    text = (sql_root() / callers[0]).read_text()
    assert text.count("CALL public.refresh_continuous_aggregate(") == 2
    assert """p_force, options => '{"buckets_per_batch": 0}')""" in text


async def test_servers_that_know_no_options_and_a_quiet_log(timescale_db: Database) -> None:
    async with connect(timescale_db) as connection:
        loud = await connection.fetchval("SHOW log_min_messages")
        await connection.execute(UNTIL_2_20)
        await connection.execute("CALL internal.refresh_rollups(0, NULL)")
        calls = await connection.fetch("SELECT * FROM internal.call")
        assert [tuple(call) for call in calls] == [
            (f"{target}.parts_{width}", False, "fatal")
            for target in ("internal", "cumsum")
            for width in WIDTHS
        ]
        assert await connection.fetchval("SHOW log_min_messages") == loud


async def test_jobs_may_hush_the_log(timescale_db: Database) -> None:
    """They run as the owner, who is no superuser."""
    async with connect(timescale_db) as connection:
        assert await connection.fetchval(
            "SELECT has_parameter_privilege('promgres_owner', 'log_min_messages', 'SET')"
        )


async def test_each_step_of_a_refresh_leaves_right_answers(timescale_db: Database) -> None:
    """Minutes are stored before hours, and hours before days: nobody loses what he saw before."""
    async with samples_of(timescale_db) as samples:
        series = await samples.series("m")
        now = await samples.connection.fetchval("SELECT now()")
        old = today() - 40 * DAY
        seen = [0, 0, 0]
        # Nothing is stored yet; then new ones; then new and late ones.
        for rows in (
            [now - n * HOUR / 4 for n in range(200)],
            [now - n * HOUR / 4 + timedelta(seconds=1) for n in range(3)],
            [old + n * HOUR for n in range(50)] + [now - timedelta(seconds=2)],
        ):
            await samples.copy([(time, series, 1.0, None) for time in rows])
            steps = [await totals(samples)]
            for width in WIDTHS:
                await samples.connection.execute(
                    f"CALL internal.refresh_parts('internal.parts_{width}', NULL, now())"
                )
                steps.append(await totals(samples))
            for step in steps:
                assert all(new >= before for new, before in zip(step, seen, strict=True)), steps
                seen = step
            everything = await samples.connection.fetchval("SELECT count(*) FROM internal.sample")
            assert seen == [everything] * 3


async def test_retention_waits_for_what_is_in_no_rollup(timescale_db: Database) -> None:
    async with samples_of(timescale_db) as samples:
        series = await samples.series("m")
        start = today() - 30 * DAY
        await samples.copy([(start + n * HOUR, series, 1.0, None) for n in range(24 * 29)])
        await keep(timescale_db, 10)
        await drop_expired(samples.connection)
        _, hours, days = await totals(samples)
        assert (hours, days) == (24 * 29, 24 * 29)
        oldest = await samples.connection.fetchval("SELECT min(time) FROM internal.sample")
        assert oldest == today() - 10 * DAY
        await samples.settle()
        await drop_expired(samples.connection)
        assert (await totals(samples))[1:] == [24 * 29, 24 * 29]


async def test_minutes_go_though_nothing_comes_any_more(timescale_db: Database) -> None:
    """A chunk of theirs is ten days long, and may outlast the last chunk of raw samples."""
    async with samples_of(timescale_db) as samples:
        series = await samples.series("m")
        await samples.copy([(today() - n * DAY, series, 1.0, None) for n in range(60, 65)])
        await samples.settle()
        for days in (59, 30):
            await keep(timescale_db, days)
            await drop_expired(samples.connection)
            raw = await samples.connection.fetchval("SELECT count(*) FROM internal.sample")
            assert raw == 0
        assert await totals(samples) == [0, 5, 5]


async def test_an_upgrade_puts_our_job_in_the_place_of_policies(timescale_db: Database) -> None:
    """What a policy dropped before it is taken for gone, and never recomputed."""
    async with samples_of(timescale_db) as samples:
        series = await samples.series("m")
        await samples.copy([(today() - n * DAY, series, 1.0, None) for n in range(40)])
        await samples.settle()
        for statement in (
            "ALTER TABLE internal.setting DROP COLUMN changed_at",
            "DELETE FROM internal.migration WHERE file LIKE '%/0011_%' OR file LIKE '%/24_%'",
            "UPDATE internal.setting SET value = '30' WHERE key = 'retention.internal_days'",
            "SELECT delete_job(job_id) FROM timescaledb_information.jobs"
            " WHERE proc_name = 'drop_expired'",
            "SELECT add_retention_policy('internal.sample', INTERVAL '30 days')",
            "SELECT add_retention_policy('internal.parts_1m', INTERVAL '30 days')",
        ):
            await samples.connection.execute(statement)
        policies = (
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'"
        )
        for policy in await samples.connection.fetch(policies):
            await samples.connection.execute(f"CALL run_job({policy[0]})")
        await keep(timescale_db, 30)
        assert await samples.connection.fetch(policies) == []
        assert (
            await samples.connection.fetchval(
                "SELECT dropped_before FROM internal.target WHERE target = 'internal'"
            )
            == today() - 29 * DAY
        )
        await samples.connection.execute(
            "CALL internal.refresh_period('internal', $1, now())", today() - 50 * DAY
        )
        await drop_expired(samples.connection)
        assert (await totals(samples))[1:] == [40, 40]


async def test_retention_waits_until_every_write_side_knows_it(timescale_db: Database) -> None:
    async with samples_of(timescale_db) as samples:
        series = await samples.series("m")
        await samples.copy([(today() - 30 * DAY, series, 1.0, None)])
        await keep(timescale_db, 10)
        job = "CALL internal.drop_expired(0, NULL)"
        await samples.connection.execute(job)
        # What is accepted until then is aggregated as everything is.
        await samples.copy([(today() - 30 * DAY + HOUR, series, 1.0, None)])
        await drop_expired(samples.connection)
        assert (await totals(samples))[1:] == [2, 2]
        assert await samples.connection.fetchval("SELECT count(*) FROM internal.sample") == 0


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
async def test_retention_beside_a_late_sample(resting: Samples, isolation: str) -> None:
    """One that is not committed yet is waited for, until the next run if need be, whatever the
    database's default isolation is."""
    name = await resting.connection.fetchval("SELECT current_database()")
    await resting.connection.execute(
        f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'"
    )
    series = await resting.series("m")
    await resting.copy([(today() - 30 * DAY, series, 1.0, None)])
    await keep(resting.database, 10)
    dropped = "SELECT dropped_before::text FROM internal.target WHERE target = 'internal'"
    async with connect(resting.database) as late:
        async with late.transaction():
            await late.execute(
                "INSERT INTO internal.sample VALUES ($1, $2, 1)", today() - 20 * DAY, series
            )
            async with connect(resting.database) as first:
                await drop_expired(first)
            assert await resting.connection.fetchval(dropped) == "-infinity"
        assert await resting.connection.fetchval("SELECT count(*) FROM internal.sample") == 2
        # One that is committed while the job waits for it is stored by the same run.
        async with connect(resting.database) as second:
            begun = late.transaction()
            await begun.start()
            await late.execute(
                "INSERT INTO internal.sample VALUES ($1, $2, 1)", today() - 21 * DAY, series
            )
            job = asyncio.create_task(drop_expired(second))
            while not await resting.connection.fetchval(WAITS_FOR_WRITERS):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await begun.commit()
            await job
            await drop_expired(second)  # a slow machine: the job waits for half a second at a time
    assert await resting.connection.fetchval("SELECT count(*) FROM internal.sample") == 0
    assert (await totals(resting))[1:] == [3, 3]


async def test_retention_gives_way_to_who_reads_old_samples(resting: Samples) -> None:
    """A dump holds chunks for hours: neither it nor writers wait for us, nor we for it."""
    series = await resting.series("m")
    days = (30, 20, 1)
    await resting.copy([(today() - day * DAY, series, 1.0, None) for day in days])
    await keep(resting.database, 10)
    async with connect(resting.database) as dump:
        async with dump.transaction():
            await dump.fetch("SELECT * FROM internal.sample")
            await drop_expired(resting.connection)
            assert await resting.copy([(today(), series, 1.0, None)]) == 1
            count = "SELECT count(*) FROM internal.sample"
            assert await resting.connection.fetchval(count) == 4
        await drop_expired(resting.connection)
    assert await resting.connection.fetchval("SELECT count(*) FROM internal.sample") == 2
    assert (await totals(resting))[1:] == [4, 4]


async def test_what_touches_rollups_waits_for_its_turn(resting: Samples) -> None:
    """TimescaleDB 2.29 refuses a refresh beside another one, and drops chunks under it."""
    calls = (
        "CALL internal.refresh_rollups(0, NULL)",
        "CALL internal.drop_expired(0, NULL)",
        "CALL internal.compress_rollups(0, NULL)",
        "CALL internal.refresh_period('internal', now() - interval '50 d', now())",
    )
    series = await resting.series("m")
    await resting.copy([(today() - n * DAY, series, 1.0, None) for n in range(40)])
    await resting.settle()
    await resting.copy([(today() - n * DAY - HOUR, series, 1.0, None) for n in range(40)])
    await keep(resting.database, 15)
    await resting.connection.execute(
        "UPDATE internal.setting SET changed_at = '-infinity';"
        "UPDATE internal.setting SET value = '20' WHERE key = 'compress_after_days'"
    )
    others = [await asyncpg.connect(resting.database.url) for _ in calls]
    try:
        lock = "internal.rollup_lock()"
        await resting.connection.execute(f"SELECT pg_advisory_lock({lock})")
        working = [
            asyncio.create_task(other.execute(call))
            for other, call in zip(others, calls, strict=True)
        ]
        while await resting.connection.fetchval(ADVISORY_LOCKS, False) < len(calls):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await resting.connection.execute(f"SELECT pg_advisory_unlock({lock})")
        await asyncio.gather(*working)
        await asyncio.gather(
            *(other.execute(call) for other, call in zip(others, calls, strict=True))
        )
        assert await resting.connection.fetchval(ADVISORY_LOCKS, True) == 0
    finally:
        for other in others:
            await other.close()
    assert (await totals(resting))[1:] == [80, 80]


async def test_all_jobs_run_by_themselves(native_db: Database) -> None:
    async with samples_of(native_db) as samples:
        series = await samples.series("m")
        await samples.copy([(today() - n * DAY, series, 1.0, None) for n in range(40)])
        await keep(native_db, 30)
        await samples.connection.execute("UPDATE internal.setting SET changed_at = '-infinity'")
        jobs = await samples.connection.fetch(
            "SELECT job_id FROM timescaledb_information.jobs"
            " WHERE owner = 'promgres_owner'::regrole"
        )
        successes = """
            SELECT coalesce(sum(total_successes), 0)
            FROM timescaledb_information.job_stats WHERE job_id = $1
        """
        for (job,) in jobs:  # a server of eight workers starts no ten of them at once
            before = await samples.connection.fetchval(successes, job)
            await samples.connection.execute("SELECT alter_job($1, next_start => now())", job)
            while await samples.connection.fetchval(successes, job) <= before:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        # All of them are overdue when the workers start: some find no free one, and wait.
        errors = await samples.connection.fetch(
            "SELECT proc_name, err_message FROM timescaledb_information.job_errors"
            " WHERE err_message NOT LIKE 'failed to start job%'"
        )
        assert errors == []
        raw = await samples.connection.fetchval("SELECT count(*) FROM internal.sample")
        assert (raw, (await totals(samples))[1:]) == (31, [40, 40])
