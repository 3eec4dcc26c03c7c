"""A pack on, off and on again: what goes, what stays, and what is said of it."""

from __future__ import annotations

import json

import pytest

from ingest.errors import MigrationError
from ingest.migrate import migrate, status
from tests.support.databases import Database, connect, execute
from tests.support.doctoring import diagnose
from tests.support.processes import PROMGRES, run

OF_PACK = "mfx|manifest|supply|fdv|market_cap|locked|excluded|geo_coord|mainnet|testnet"
DATA = (
    "INSERT INTO internal.excluded_addresses (tenant_id, value) VALUES (1, 'manifest1x')",
    "SELECT series_id FROM internal.resolve_series(ARRAY[decode(md5('s'), 'hex')], ARRAY[1],"
    " ARRAY['cumsum'], ARRAY['web_requests'], ARRAY['cumsum'], ARRAY['{}'])",
    "INSERT INTO staging_cumsum.sample VALUES ('2026-01-01', 1, 7, NULL)",
)


async def objects(database: Database) -> set[str]:
    """Functions and views that are there, with comments and signatures."""
    async with connect(database) as connection:
        rows = await connection.fetch(
            "SELECT concat_ws(' ', p.oid::regprocedure, obj_description(p.oid, 'pg_proc'),"
            " p.proacl::text) FROM pg_proc p"
            " WHERE pronamespace::regnamespace::text ~ '^(api|internal|cumsum|geo)$'"
            " UNION SELECT concat_ws(' ', c.oid::regclass, obj_description(c.oid, 'pg_class'),"
            " c.relacl::text) FROM pg_class c WHERE relkind = 'v'"
            " AND relnamespace::regnamespace::text ~ '^(api|internal|cumsum|geo)$'"
        )
    return {row[0] for row in rows}


async def test_off_and_on_again(engine_db: Database) -> None:
    database = engine_db
    if database.engine == "postgres":
        await execute(
            database.url, "SELECT internal.ensure_partitions('cumsum', '2026-01-01', '2026-01-01')"
        )
    await execute(database.url, *DATA)
    before = await objects(database)

    off = await migrate(database.url, database.settings(packs=[]))
    assert off.applied == []
    async with connect(database) as connection:
        catalogue = json.loads(await connection.fetchval("SELECT internal.api_catalogue()"))
        names = [function["name"] for function in catalogue["functions"]]
        assert "get_agg_metric" in names
        assert "get_all_latest_common_metrics" in names
        assert [name for name in names if any(word in name for word in OF_PACK.split("|"))] == []
        for view in ("internal.prometheus_remote_write", "geo.latest_coords"):
            assert await connection.fetchval("SELECT to_regclass($1)", view) is None
        assert await connection.fetchval("SELECT value FROM internal.excluded_addresses") == (
            "manifest1x"
        )
        assert await connection.fetchval("SELECT value FROM cumsum.sample") == 7
        assert await connection.fetchval("SELECT count(*) FROM internal.missing_object") == 0
    left = await objects(database)
    assert left < before
    assert not [each for each in left if "locked_fees" in each]
    assert (await status(database.url, database.settings())).pending == []

    on = await migrate(database.url, database.settings(packs=["manifest"]))
    assert on.applied[0] == "packs/manifest/old_stack_views.sql"
    assert await objects(database) == before
    async with connect(database) as connection:
        assert await connection.fetchval("SELECT value FROM api.get_excluded_addresses()") == (
            "manifest1x"
        )
    assert (await migrate(database.url, database.settings())).applied == []


async def test_a_new_database_without_packs(empty_engine_db: Database) -> None:
    database = empty_engine_db
    await migrate(database.url, database.settings(packs=[]))
    assert not [each for each in await objects(database) if "locked_fees" in each]
    await migrate(database.url, database.settings())  # as recorded
    async with connect(database) as connection:
        assert await connection.fetchval("SELECT internal.recorded_packs()") == []
        assert await connection.fetchval("SELECT to_regclass('geo.latest_coords')") is None


async def test_the_doctor_compares(engine_db: Database) -> None:
    assert (await diagnose(engine_db)).only("packs").what == "manifest"
    found = (await diagnose(engine_db, settings={"packs": []})).only("packs")
    assert found.what == "packs is none in the settings, and the database has manifest"
    assert "promgres migrate" in found.todo
    await migrate(engine_db.url, engine_db.settings(packs=[]))
    found = await diagnose(engine_db)
    assert (found.only("packs").what, found.level("migrations")) == ("none", "ok")
    assert found.level("objects") == "ok"


async def test_a_view_of_somebody_else_keeps_what_it_stands_on(postgres_db: Database) -> None:
    await execute(
        postgres_db.url, "CREATE VIEW public.mine AS SELECT * FROM internal.prometheus_mainnet_1m"
    )
    with pytest.raises(MigrationError, match=r"cannot go: .* view mine depends on"):
        await migrate(postgres_db.url, postgres_db.settings(packs=[]))
    async with connect(postgres_db) as connection:
        assert await connection.fetchval("SELECT internal.recorded_packs()") == ["manifest"]
        assert await connection.fetchval("SELECT to_regclass('geo.latest_coords')") is not None


async def test_a_pack_of_a_newer_version_is_refused(postgres_db: Database) -> None:
    await execute(
        postgres_db.url, "UPDATE internal.setting SET value = 'manifest next' WHERE key = 'packs'"
    )
    for ask in (migrate, status):
        with pytest.raises(MigrationError, match="has pack next, which this promgres lacks"):
            await ask(postgres_db.url, postgres_db.settings(packs=[]))


async def test_what_it_says(postgres_db: Database) -> None:
    environment = dict(postgres_db.environment())
    off = run(PROMGRES, "migrate", env={**environment, "PROMGRES_PACKS": "[]"})
    assert off.process.returncode == 0, off.stderr
    assert "pack manifest is off: its functions and views are gone, all data stays" in off.stderr
    assert "new samples of metrics that it routes start new series" in off.stderr
    again = run(PROMGRES, "migrate", env=environment)
    assert "pack" not in again.stderr
    assert "packs: none\n" in run(PROMGRES, "migrate", "status", env=environment).stdout
    on = run(PROMGRES, "migrate", env={**environment, "PROMGRES_PACKS": "manifest"})
    assert "pack manifest is on; restart the write sides" in on.stderr


async def test_a_new_database_has_nothing_to_be_told(empty_postgres_db: Database) -> None:
    environment = {**empty_postgres_db.environment(), "PROMGRES_PACKS": "[]"}
    done = run(PROMGRES, "migrate", env=environment)
    assert (done.process.returncode, "pack " in done.stderr) == (0, False)


@pytest.mark.parametrize("side", ["ingest", "api"])
async def test_a_setting_that_differs_is_one_line(postgres_db: Database, side: str) -> None:
    environment = {
        **postgres_db.environment(),
        "PROMGRES_PACKS": "[]",
        "PROMGRES_API_DATABASE_URL": postgres_db.url,
        "PROMGRES_LISTEN": "127.0.0.1:0",
        "PROMGRES_API_LISTEN": "127.0.0.1:0",
        "PROMGRES_LOG_LEVEL": "error",
        "PROMGRES_LOG_FORMAT": "text",
    }
    refused = run(PROMGRES, side, env=environment)
    assert refused.process.returncode == 2, refused.stderr
    assert "packs is none in the settings, and the database has manifest" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_pack_that_does_not_exist_is_a_wrong_setting() -> None:
    refused = run(PROMGRES, "config", "check", env={"PROMGRES_PACKS": "manifest,other"})
    assert refused.process.returncode == 2
    assert "there is no pack 'other', only manifest" in refused.stderr
