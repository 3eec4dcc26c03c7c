"""Functions, views and triggers that somebody dropped: the doctor sees them, migrate makes them."""

from __future__ import annotations

import pytest

from ingest.doctor import Level
from ingest.migrate import migrate
from tests.support.databases import Database, connect, execute
from tests.support.doctoring import diagnose
from tests.support.processes import PROMGRES, run

HARMS = {
    "a trigger of another table's": (
        "DROP TRIGGER change_directory_version ON app.api_key",
        "trigger change_directory_version on app.api_key",
    ),
    "a second trigger of a staging table": (
        "DROP TRIGGER note_measure_names ON staging_app.measure",
        "trigger note_measure_names on staging_app.measure",
    ),
    "a trigger that is off": (
        "ALTER TABLE app.tenant DISABLE TRIGGER change_directory_version",
        "trigger change_directory_version on app.tenant",
    ),
    "a function": (
        "DROP FUNCTION api.get_latest_geo_coordinates",
        "routine api.get_latest_geo_coordinates()",
    ),
    "a view": ("DROP VIEW app.measure_raw CASCADE", "view app.measure_raw"),
    "the list itself": ("DROP VIEW internal.missing_object", None),
}


@pytest.mark.parametrize("harm", HARMS)
async def test_what_is_gone_comes_back(engine_db: Database, harm: str) -> None:
    statement, name = HARMS[harm]
    assert (await diagnose(engine_db)).level("objects") == Level.OK
    await execute(engine_db.url, statement)
    found = (await diagnose(engine_db)).only("objects")
    assert found.level != Level.OK
    if name:
        assert (found.level, found.what) == (Level.PROBLEM, f"gone or switched off: {name}")
        assert found.todo == "promgres migrate repair"
    assert (await migrate(engine_db.url, engine_db.settings())).applied
    assert (await diagnose(engine_db)).level("objects") == Level.OK
    assert (await migrate(engine_db.url, engine_db.settings())).applied == []


async def test_functions_of_others_are_theirs(engine_db: Database) -> None:
    """Made after ours, and by the same owner; dropped again."""
    make = "CREATE FUNCTION api.theirs() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'"
    await execute(engine_db.url, "SET ROLE promgres_owner", make, "RESET ROLE")
    await migrate(engine_db.url, engine_db.settings(), repair=True)
    await execute(engine_db.url, "DROP FUNCTION api.theirs")
    assert (await diagnose(engine_db)).level("objects") == Level.OK


async def test_everything_of_ours_is_in_the_list(engine_db: Database) -> None:
    """But for what migrations made, which is not made again."""
    async with connect(engine_db) as connection:
        listed = await connection.fetch(
            """
            SELECT p.oid::regprocedure::text FROM pg_proc p
            WHERE p.pronamespace::regnamespace::text ~ '^(internal|app|api|cumsum|geo|staging_)'
            EXCEPT SELECT name FROM internal.object
            UNION ALL
            SELECT g.tgname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
            WHERE c.relnamespace::regnamespace::text ~ '^staging_' AND NOT g.tgisinternal
                AND NOT EXISTS (SELECT FROM internal.object o WHERE o.name LIKE g.tgname || ' on %')
            """
        )
    assert [row[0] for row in listed] == []


async def test_repair_makes_what_was_changed(postgres_db: Database) -> None:
    await execute(
        postgres_db.url,
        "CREATE OR REPLACE FUNCTION internal.retention_days(p_target text) RETURNS int"
        " LANGUAGE sql STABLE AS 'SELECT 1'",
    )
    done = run(PROMGRES, "migrate", "repair", env=dict(postgres_db.environment()))
    assert done.process.returncode == 0, done.stderr
    assert "applied core/catalogue/retention.sql\n" in done.stdout
    async with connect(postgres_db) as connection:
        assert await connection.fetchval("SELECT internal.retention_days('internal')") == 365
