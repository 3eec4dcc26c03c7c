"""The doctor on engines, versions and migrations that do not fit."""

from __future__ import annotations

import time

from ingest.doctor import Level
from tests.support.databases import Database, execute
from tests.support.doctoring import diagnose, heals
from tests.support.postgres import Cluster

VIEWS = "packs/manifest/old_stack_views.sql"
CATALOGUE = "common/migrations/0001_catalogue.sql"


async def test_another_engine_than_the_databases_is_asked_for(engine_db: Database) -> None:
    other = "postgres" if engine_db.engine == "timescaledb" else "timescaledb"
    engine = (await diagnose(engine_db, settings={"engine": other})).only("engine")
    assert engine.level == Level.PROBLEM
    assert engine.todo == "leave --engine (PROMGRES_ENGINE) out"
    same = await diagnose(engine_db, settings={"engine": engine_db.engine})
    assert same.level("engine") == Level.OK


async def test_the_extension_is_gone(postgres_db: Database) -> None:
    """What other checks ask of it is answered with errors, which must not stop the doctor."""
    await execute(
        postgres_db.url, "UPDATE internal.setting SET value = 'timescaledb' WHERE key = 'engine'"
    )
    found = await diagnose(postgres_db)
    assert "the extension is not there" in found.only("engine").what
    assert "cannot be checked" in found.bad(Level.WARNING)["jobs"]
    assert found.level("connections") == Level.OK


async def test_a_restore_was_not_finished(timescale_db: Database) -> None:
    await execute(timescale_db.url, "SELECT public.timescaledb_pre_restore()")
    await execute(timescale_db.url, "SET timescaledb.restoring = 'on'")  # PGlite: one session
    engine = (await diagnose(timescale_db)).only("engine")
    assert (engine.level, "restoring" in engine.what) == (Level.PROBLEM, True)
    assert "timescaledb_post_restore()" in engine.todo


async def test_a_migration_is_pending(engine_db: Database) -> None:
    await execute(engine_db.url, f"DELETE FROM internal.migration WHERE file = '{VIEWS}'")
    found = (await diagnose(engine_db)).only("migrations")
    assert found.level == Level.PROBLEM
    assert found.what == f"not applied yet: {VIEWS}"
    assert found.todo == "promgres migrate up"


async def test_an_applied_migration_is_another_one(engine_db: Database) -> None:
    await execute(
        engine_db.url, f"UPDATE internal.migration SET checksum = 'x' WHERE file = '{CATALOGUE}'"
    )
    found = (await diagnose(engine_db)).only("migrations")
    assert found.level == Level.PROBLEM
    assert f"{CATALOGUE} is not what was applied" in found.what


async def test_a_newer_promgres_migrated_it(postgres_db: Database) -> None:
    await execute(
        postgres_db.url,
        "INSERT INTO internal.migration (file, checksum) VALUES ('x/migrations/9999_x.sql', 'x')",
    )
    found = (await diagnose(postgres_db)).only("migrations")
    assert found.level == Level.PROBLEM
    assert "newer promgres" in found.what


async def test_a_provider_made_it_read_only(postgres_db: Database) -> None:
    name = postgres_db.url.rpartition("/test_")[2].partition("?")[0]
    await execute(
        postgres_db.url, f"ALTER DATABASE test_{name} SET default_transaction_read_only = on"
    )
    found = (await diagnose(postgres_db)).only("database")
    assert found.level == Level.PROBLEM
    assert "read-only" in found.what
    await execute(
        postgres_db.url,
        "SET default_transaction_read_only = off",
        f"ALTER DATABASE test_{name} SET default_transaction_read_only = off",
    )
    assert (await diagnose(postgres_db)).level("database") == Level.OK


async def test_the_encoding_cannot_hold_all_text(cluster: Cluster) -> None:
    url = cluster.url("postgres")
    await execute(url, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        found = (await diagnose(Database(cluster.url("ascii"), "postgres"))).only("database")
        assert found.level == Level.PROBLEM
        assert found.what == "the database is encoded in SQL_ASCII: it cannot hold all text"
    finally:
        await execute(url, "DROP DATABASE ascii WITH (FORCE)")


async def test_the_clocks_differ(engine_db: Database) -> None:
    late = await diagnose(engine_db, now=lambda: time.time() - 5)
    assert late.level("clock") == Level.WARNING
    assert "5 s behind" in late.only("clock").what
    early = await diagnose(engine_db, now=lambda: time.time() + 600)
    assert early.level("clock") == Level.PROBLEM
    assert "10 min ahead of" in early.only("clock").what


async def test_grants_to_public_are_taken_back(engine_db: Database) -> None:
    await execute(
        engine_db.url,
        "CREATE FUNCTION api.careless() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "GRANT EXECUTE ON FUNCTION internal.retention_days(text) TO PUBLIC",
    )
    found = await diagnose(engine_db)
    assert "api.careless() and 1 more" in found.only("grants").what
    await heals(engine_db, "grants")
