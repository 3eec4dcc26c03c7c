"""The doctor on rollups that nobody stores, and on the jobs of the extension.

PGlite has no background workers, and a job that is run by hand leaves no statistics: what a
scheduler would have noted is written into its tables.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from ingest.doctor import Level, rollups
from ingest.migrate import migrate
from tests.support.blocks import switch_off, switch_on
from tests.support.databases import Database, connect, execute
from tests.support.doctoring import FRESH_JOBS, diagnose, heals, statements
from tests.support.hours import make_hours
from tests.support.sql_samples import samples_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

RAN = """
    INSERT INTO _timescaledb_internal.bgw_job_stat
        (job_id, last_start, last_finish, next_start, last_successful_finish, last_run_success,
         total_runs, total_duration, total_duration_failures, total_successes, total_failures,
         total_crashes, consecutive_failures, consecutive_crashes, flags)
    SELECT id, now() - {ago}, now() - {ago}, now() + interval '{next}', now() - {success}, {ok},
        1, '1 s', '0', 1, 0, 0, 0, 0, 0
    FROM _timescaledb_config.bgw_job WHERE proc_name = '{job}'
    ON CONFLICT (job_id) DO UPDATE SET last_start = excluded.last_start,
        last_finish = excluded.last_finish, next_start = excluded.next_start,
        last_successful_finish = excluded.last_successful_finish,
        last_run_success = excluded.last_run_success
"""


def ran(
    job: str,
    ago: str = "1 s",
    success: str = "1 s",
    due: str = "20 s",
    ok: bool = True,
) -> str:
    """As if the scheduler had run a job; `due` is when it is to run next, from now."""
    return RAN.format(
        job=job,
        ago=f"interval '{ago}'",
        success=f"interval '{success}'",
        next=due,
        ok=ok,
    )


async def test_minutes_and_hours_fall_behind(postgres_db: Database) -> None:
    """Nobody is at it, or somebody holds it up."""
    old = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 3 * DAY
    soon = {"packing": 0.0, "rollup_patience": 0.5}
    async with samples_of(postgres_db) as samples, connect(postgres_db) as idle:
        await switch_off(samples.connection)
        series = await samples.series("m")
        await samples.copy([(old + n * HOUR / 60, series, 1.0, None) for n in range(800)])
        await samples.connection.execute("SELECT internal.rollup_work('1 day')")
        found = await diagnose(postgres_db, **soon)
        assert "none wait to be packed" in found.only("minutes").what, "storage.pack is off"
        assert found.level("hours") == Level.WARNING
        assert "hours of internal are not made, the oldest could be since " in (
            found.only("hours").what
        )
        assert "start a write side" in found.only("hours").todo
        await idle.execute("SET application_name = 'forgotten'")
        async with idle.transaction(isolation="repeatable_read"):
            await idle.execute("SELECT count(*) FROM internal.series")
            await make_hours(samples.connection, old + 2 * DAY, least=720, waits=False)
            found = await diagnose(postgres_db, **soon)
            assert "forgotten (pid " in found.only("hours").what
        await make_hours(samples.connection, old + 2 * DAY, least=720)
        await switch_on(samples.connection)
        found = await diagnose(postgres_db, **soon)
        assert "none wait to be made" in found.only("hours").what
        assert "minutes of internal are not packed" in found.only("minutes").what
        assert (await diagnose(postgres_db)).level("hours") == Level.OK
        while await samples.connection.fetchval("SELECT internal.pack_minutes()"):
            pass
        assert (await diagnose(postgres_db, **soon)).level("minutes") == Level.OK


async def test_nobody_stores_rollups(postgres_db: Database) -> None:
    async with samples_of(postgres_db) as samples:
        series = await samples.series("m")
        now = await samples.connection.fetchval("SELECT now()")
        await samples.copy([(now, series, 1.0, None)])
        assert (await diagnose(postgres_db)).level("rollups") == Level.OK, "it has not ended yet"
        await samples.copy([(now - HOUR, series, 1.0, None)])
        found = (await diagnose(postgres_db)).only("rollups")
        assert found.level == Level.PROBLEM
        assert "nobody stores rollups: 1 mark of internal, the oldest 1 h" in found.what
        assert "promgres ingest" in found.todo
        await samples.settle()
        assert (await diagnose(postgres_db)).level("rollups") == Level.OK


async def test_a_backfill_is_being_stored(
    postgres_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old marks are no problem while they go away: one does before the doctor looks again."""
    async with samples_of(postgres_db) as samples:
        series = await samples.series("m")
        now = await samples.connection.fetchval("SELECT now()")
        await samples.copy([(now - day * 24 * HOUR, series, 1.0, None) for day in range(1, 30)])

        async def store_meanwhile(_: float) -> None:
            await samples.connection.fetchval("SELECT internal.rollup_work('1 hour')")

        monkeypatch.setattr(rollups, "asyncio", SimpleNamespace(sleep=store_meanwhile))
        found = (await diagnose(postgres_db, rollup_patience=10.0)).only("rollups")
        assert found.level == Level.OK
        assert found.what.startswith("being stored: 29 marks of internal")


OF_THE_LIST = (
    ("internal.refresh_rollups", "proc_name = 'refresh_rollups'"),
    ("internal.drop_expired", "proc_name = 'drop_expired'"),
    ("internal.compress_rollups", "proc_name = 'compress_rollups'"),
    (
        "compression of internal.sample",
        "hypertable_name = 'sample' AND hypertable_schema = 'internal'",
    ),
    ("compression of app.event", "hypertable_name = 'event'"),
)


@pytest.mark.parametrize(("name", "which"), OF_THE_LIST)
async def test_a_job_is_missing_or_off_or_fails(
    timescale_db: Database, name: str, which: str
) -> None:
    job = f"SELECT job_id FROM timescaledb_information.jobs WHERE {which}"
    await execute(timescale_db.url, FRESH_JOBS, f"SELECT public.delete_job(({job}))")
    found = (await diagnose(timescale_db)).only("jobs")
    assert (found.level, found.what) == (Level.PROBLEM, f"there is no job for {name}")
    await heals(timescale_db, "jobs")

    await execute(timescale_db.url, f"SELECT public.alter_job(({job}), scheduled => false)")
    found = (await diagnose(timescale_db)).only("jobs")
    assert found.level == Level.PROBLEM
    assert f"({name}) is switched off" in found.what
    await heals(timescale_db, "jobs")

    failed = ran("%", success="1 hour", ok=False).replace("proc_name = '%'", f"id = ({job})")
    await execute(timescale_db.url, failed)
    found = (await diagnose(timescale_db)).only("jobs")
    assert found.level == Level.PROBLEM
    assert f"({name}) fails" in found.what


async def test_migrate_brings_back_jobs(timescale_db: Database) -> None:
    await execute(
        timescale_db.url,
        "SELECT public.delete_job(job_id) FROM timescaledb_information.jobs"
        " WHERE hypertable_schema IS NOT NULL OR proc_schema = 'internal'",
    )
    assert len((await diagnose(timescale_db)).of("jobs")) == 4 + 7
    await migrate(timescale_db.url, timescale_db.settings())
    assert (await diagnose(timescale_db)).level("jobs") == Level.OK


async def test_a_job_fails(timescale_db: Database) -> None:
    await execute(
        timescale_db.url,
        ran("refresh_rollups", success="1 hour", ok=False),
        """INSERT INTO _timescaledb_internal.bgw_job_stat_history
               (job_id, pid, execution_start, execution_finish, succeeded, data)
           SELECT id, 1, now(), now(), false,
               '{"job": {}, "error_data": {"message": "out of something"}}'
           FROM _timescaledb_config.bgw_job WHERE proc_name = 'refresh_rollups'""",
    )
    found = await diagnose(timescale_db)
    assert found.level("jobs") == Level.PROBLEM
    assert "(internal.refresh_rollups) fails: out of something" in found.only("jobs").what
    (run,) = statements(found.only("jobs").todo)
    await execute(timescale_db.url, run)
    assert found.level("rollups") == Level.PROBLEM
    assert "last stored 1 h ago" in found.only("rollups").what
    await execute(timescale_db.url, ran("refresh_rollups"))
    found = await diagnose(timescale_db)
    assert (found.level("jobs"), found.level("rollups")) == (Level.OK, Level.OK)


async def test_the_scheduler_does_not_run(timescale_db: Database) -> None:
    await execute(timescale_db.url, ran("refresh_rollups", due="-3 days"))
    found = (await diagnose(timescale_db)).only("jobs")
    assert found.level == Level.PROBLEM
    assert "should have started 3 d ago: the scheduler does not run" in found.what
    assert statements(found.todo) == ["SELECT _timescaledb_functions.start_background_workers()"]


async def test_a_job_has_not_succeeded_for_long(timescale_db: Database) -> None:
    await execute(
        timescale_db.url,
        ran("policy_compression", ago="1 hour", success="3 days", due="1 hour"),
        FRESH_JOBS,
    )
    found = await diagnose(timescale_db)
    # Samples of three targets, exemplars, histograms, measures, events.
    assert len(found.of("jobs")) == 7
    assert "succeeded 3 d ago for the last time" in found.of("jobs")[0].what
    assert found.of("jobs")[0].level == Level.WARNING


async def test_rollups_were_never_stored(timescale_db: Database) -> None:
    """What PGlite really is: a server whose scheduler never started."""
    await execute(timescale_db.url, FRESH_JOBS.replace("now()", "now() - interval '2 h'"))
    found = (await diagnose(timescale_db)).only("rollups")
    assert found.level == Level.PROBLEM
    assert "last stored 2 h ago" in found.what


async def test_nothing_is_compressed(timescale_db: Database) -> None:
    async with samples_of(timescale_db) as samples:
        series = await samples.series("m")
        now = await samples.connection.fetchval("SELECT now()")
        days = [now - timedelta(days=day) for day in (1, 8, 20, 21)]
        await samples.copy([(day, series, 1.0, None) for day in days])
    found = (await diagnose(timescale_db)).only("compression")
    assert found.level == Level.WARNING
    assert found.what == "chunks that should be compressed and are not: 2 of internal.sample"
    await heals(timescale_db, "compression")
