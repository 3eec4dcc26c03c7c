"""The doctor on staging tables, partitions and indexes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ingest.config import RetentionSettings
from ingest.doctor import Level
from ingest.doctor import tables as doctor_tables
from ingest.migrate import migrate
from tests.engines.native import Native, copy, store
from tests.engines.sql_api import Api
from tests.support.blocks import close, pack, switch_on
from tests.support.databases import Database, connect, execute
from tests.support.doctoring import diagnose, heals, take, until_ok
from tests.support.sql_samples import SETTINGS_ARE_KNOWN, samples_of

FILL = """
    INSERT INTO staging_internal.sample
    SELECT now(), n, 0, repeat('1234567', 500)::numeric FROM generate_series(1, 40000) AS n
"""
"""1.7 KB a row: 70 MB."""

IN_THE_WAY = "ALTER TABLE staging_internal.sample DISABLE TRIGGER move_samples"
OUT_OF_IT = "ALTER TABLE staging_internal.sample ENABLE TRIGGER move_samples"


@pytest.mark.parametrize(
    ("table", "mover"),
    [
        ("staging_geo.sample", "move_samples"),
        ("staging_internal.histogram", "move_histograms"),
        ("staging_internal.metadata", "move_metadata"),
        ("staging_app.event", "move_events"),
    ],
)
async def test_a_staging_table_moves_nothing_on(
    engine_db: Database, table: str, mover: str
) -> None:
    await execute(engine_db.url, f"ALTER TABLE {table} DISABLE TRIGGER {mover}")
    found = (await diagnose(engine_db)).only("staging")
    assert found.level == Level.PROBLEM
    assert found.what.startswith(f"the trigger of {table} is off or gone")
    await heals(engine_db, "staging")


async def test_nobody_empties_staging(engine_db: Database) -> None:
    await execute(engine_db.url, IN_THE_WAY, FILL, OUT_OF_IT)
    found = (await diagnose(engine_db)).only("staging")
    assert found.level == Level.WARNING
    assert "a write side empties it within seconds" in found.what
    await heals(engine_db, "staging")


async def test_staging_grows_past_the_hard_limit(
    postgres_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await execute(postgres_db.url, IN_THE_WAY, FILL, OUT_OF_IT)
    monkeypatch.setattr(doctor_tables, "HARD_LIMIT_BYTES", 65 * 1024 * 1024)
    assert (await diagnose(postgres_db)).level("staging") == Level.PROBLEM


async def test_somebody_holds_a_staging_table(postgres_db: Database) -> None:
    """As pg_dump does, for as long as it runs."""
    await execute(postgres_db.url, IN_THE_WAY, FILL, OUT_OF_IT)
    async with connect(postgres_db) as dump:
        await dump.execute("SET application_name = 'pg_dump'")
        await dump.execute("BEGIN")
        await dump.execute("LOCK TABLE staging_internal.sample IN ACCESS SHARE MODE")
        found = (await diagnose(postgres_db, staging_holder=0.0)).only("staging")
        assert "cannot be emptied: pg_dump (pid " in found.what
        await take(postgres_db, found)
        await execute(postgres_db.url, "TRUNCATE staging_internal.sample")
    await until_ok(postgres_db, "staging")


async def test_nothing_has_come_today(postgres_db: Database) -> None:
    assert "made as samples come" in (await diagnose(postgres_db)).only("partitions").what
    await execute(
        postgres_db.url,
        "SELECT internal.ensure_partitions('internal', day, day)"
        " FROM (SELECT now() - interval '2 d') AS old (day)",
    )
    found = (await diagnose(postgres_db)).only("partitions")
    assert found.level == Level.WARNING
    assert found.what.startswith("internal.sample has none for today, the newest ended 1 d")
    await execute(postgres_db.url, "SELECT internal.ensure_partitions('internal', now(), now())")
    assert (await diagnose(postgres_db)).level("partitions") == Level.OK


async def test_nothing_is_dropped(engine_db: Database) -> None:
    """Not by TimescaleDB's job, which does not run in PGlite, nor by a write side, which there is
    none of."""
    retention = RetentionSettings(internal_days=30, compress_after_days=None)
    async with samples_of(engine_db) as samples:
        series = await samples.series("m")
        now = await samples.connection.fetchval("SELECT now()")
        for time in (now - timedelta(days=50), now):
            await samples.copy([(time, series, 1.0, None)])
        await samples.settle()
    await migrate(engine_db.url, engine_db.settings(retention=retention))
    late = "1 of internal.sample"
    if engine_db.engine == "timescaledb":
        await execute(engine_db.url, SETTINGS_ARE_KNOWN)
        late += ", 1 of internal.parts_1m"
    found = (await diagnose(engine_db)).only("retention")
    assert found.level == Level.WARNING
    assert found.what == f"past retention and not dropped: {late}"
    await heals(engine_db, "retention")


async def test_exemplars_and_histograms_are_not_dropped(engine_db: Database) -> None:
    """And of them it is no news that none came today."""
    retention = RetentionSettings(internal_days=30, compress_after_days=None)
    async with connect(engine_db) as connection:
        api = Api(engine_db, connection)
        old = await connection.fetchval("SELECT now() - interval '50 d'")
        (series,) = await store(api, [Native(old, {1: 1})])
        await copy(api, "exemplar", [(old, series, 1.0, "{}")])
    await migrate(engine_db.url, engine_db.settings(retention=retention))
    if engine_db.engine == "timescaledb":
        await execute(engine_db.url, SETTINGS_ARE_KNOWN)
    found = await diagnose(engine_db)
    late = "1 of internal.exemplar, 1 of internal.histogram"
    assert found.only("retention").what == f"past retention and not dropped: {late}"
    assert found.level("partitions" if engine_db.engine == "postgres" else "jobs") == Level.OK
    await heals(engine_db, "retention")


async def test_an_index_is_invalid(engine_db: Database) -> None:
    await execute(
        engine_db.url,
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'internal.series_name'::regclass",
    )
    found = (await diagnose(engine_db)).only("indexes")
    assert found.level == Level.PROBLEM
    assert found.what.startswith("index internal.series_name of internal.series is invalid")
    await heals(engine_db, "indexes")


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (
            "ALTER TABLE cumsum.{samples} DROP CONSTRAINT {samples}_pkey",
            "cumsum.{samples} has no primary key",
        ),
        (
            "ALTER TABLE internal.exemplar DROP CONSTRAINT exemplar_pkey",
            "internal.exemplar has no primary key",
        ),
        ("DROP INDEX cumsum.{samples}_time", "cumsum.{samples} has no BRIN index"),
        (
            "DROP INDEX internal.{histograms}_time",
            "internal.{histograms} has no BRIN index",
        ),
    ],
)
async def test_an_index_of_raw_data_is_gone(engine_db: Database, harm: str, what: str) -> None:
    tables = {"samples": engine_db.samples_in, "histograms": engine_db.histograms_in}
    await execute(engine_db.url, harm.format(**tables))
    found = (await diagnose(engine_db)).only("indexes")
    assert found.level == Level.PROBLEM
    assert what.format(**tables) in found.what
    await heals(engine_db, "indexes")


async def test_series_are_counted_and_told_by_metric(engine_db: Database) -> None:
    assert (await diagnose(engine_db)).only("series").what.startswith("0 in all, 0 of them")
    async with samples_of(engine_db) as samples:
        for name, number in (("busy", 1), ("busy", 2), ("busy", 3), ("calm", 1)):
            await samples.series(name, label=str(number))
    await execute(
        engine_db.url,
        "UPDATE internal.series SET created_at = NULL WHERE labels ->> 'label' = '3'",
    )
    found = (await diagnose(engine_db)).only("series")
    assert found.level == Level.OK
    assert found.what == (
        "4 in all, 3 of them came within a day, most of busy (2 of 3), calm (1 of 1)"
    )


async def test_a_session_holds_packing_up(postgres_db: Database) -> None:
    """It may read what is packed, or it writes where nothing else is to be written any more."""
    await execute(postgres_db.url, "DELETE FROM internal.setting WHERE key = 'storage.pack'")
    assert "off (storage.pack)" in (await diagnose(postgres_db)).only("blocks").what
    old = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    async with samples_of(postgres_db) as samples, connect(postgres_db) as idle:
        series = await samples.series("m")
        await samples.copy([(old, series, 1.0, None)])
        await switch_on(samples.connection)
        found = (await diagnose(postgres_db)).only("blocks")
        assert found.level == Level.OK
        assert "1 partition of internal, the oldest ended 2 d" in found.what
        await idle.execute("SET application_name = 'forgotten'")
        await close(samples.connection, old + timedelta(days=2))
        async with idle.transaction(isolation="repeatable_read"):
            await idle.execute("SELECT count(*) FROM internal.series")
            await pack(samples.connection, old + timedelta(days=2))
            found = (await diagnose(postgres_db, packing=0.0)).only("blocks")
            assert found.level == Level.WARNING
            assert "is packed and cannot be dropped: forgotten (pid " in found.what
            assert (await diagnose(postgres_db)).level("blocks") == Level.OK, "not for long"
        await pack(samples.connection, old + timedelta(days=2))
        assert "up to the last hours" in (await diagnose(postgres_db)).only("blocks").what
        await samples.copy([(old + timedelta(days=1), series, 1.0, None)])
        async with idle.transaction():
            await idle.execute(  # in the partition of the row above, whatever the time of day
                "INSERT INTO internal.hot VALUES ($1, $2, 1)",
                old + timedelta(days=1, milliseconds=1),
                series,
            )
            found = (await diagnose(postgres_db, packing=0.0)).only("blocks")
            assert "is over and cannot be packed: forgotten (pid " in found.what
