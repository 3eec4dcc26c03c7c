"""A healthy database has no problem, whoever asks; one that is not migrated has exactly that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr

from ingest.doctor import Level
from ingest.doctor.examination import FOUNDATIONS, OF_ENGINE, TABLES_AND_LOAD
from ingest.errors import DatabaseUnreachable
from tests.support.databases import Database, connect, execute
from tests.support.doctoring import FRESH_JOBS, diagnose
from tests.support.postgres import Cluster
from tests.support.sql_samples import moment, samples_of

NOT_SAFE = {"durability"}
"""The tests' own PostgreSQL really runs without fsync."""


async def freshen(database: Database) -> None:
    if database.engine == "timescaledb":
        await execute(database.url, FRESH_JOBS)


async def test_a_fresh_database_has_no_problem(engine_db: Database) -> None:
    await freshen(engine_db)
    found = await diagnose(engine_db)
    unsafe = NOT_SAFE if engine_db.engine == "postgres" else set()
    assert set(found.bad()) == unsafe
    assert found.bad(Level.WARNING) == {}
    checks = {*FOUNDATIONS, *OF_ENGINE[engine_db.engine], *TABLES_AND_LOAD, "database", "login"}
    assert {each.check for each in found.findings} == checks


async def test_a_database_with_samples_has_no_problem(engine_db: Database) -> None:
    async with samples_of(engine_db) as samples:
        series = await samples.series("m")
        now = await samples.connection.fetchval("SELECT now()")
        old = moment("2026-01-31 12:00:00") if engine_db.engine == "postgres" else now
        await samples.copy([(now, series, 1.0, None), (old, series, 2.0, None)])
        await samples.settle()
    await freshen(engine_db)
    found = await diagnose(engine_db)
    assert set(found.bad()) <= NOT_SAFE
    assert found.bad(Level.WARNING) == {}


async def test_a_plain_member_of_the_owner_sees_all_of_it(
    postgres_db: Database, cluster: Cluster
) -> None:
    plain = replace(postgres_db, url=postgres_db.url.replace("//postgres@", "//plain@"))
    admin = cluster.url("postgres")
    await execute(admin, "CREATE ROLE plain LOGIN IN ROLE promgres_owner")
    try:
        read_side = {"api_database_url": SecretStr(postgres_db.api_url)}
        found = await diagnose(plain, settings=read_side)
        assert "login plain" in found.only("database").what
        assert set(found.bad()) == NOT_SAFE
        assert found.bad(Level.WARNING) == {}
    finally:
        await execute(admin, "DROP ROLE plain")


async def test_a_login_without_the_owners_rights_is_told(
    postgres_db: Database, cluster: Cluster
) -> None:
    stranger = replace(postgres_db, url=postgres_db.url.replace("//postgres@", "//stranger@"))
    admin = cluster.url("postgres")
    await execute(admin, "CREATE ROLE stranger LOGIN")
    try:
        found = await diagnose(stranger)
        assert set(found.bad()) == {"login"}
        grant = found.only("login").todo.removeprefix("as an administrator: ")
        await execute(admin, grant)
        assert (await diagnose(stranger)).level("login") == Level.OK
        await execute(admin, "REVOKE promgres_owner FROM stranger")
    finally:
        await execute(admin, "DROP ROLE stranger")


async def test_an_empty_database_is_not_migrated(empty_engine_db: Database) -> None:
    found = await diagnose(empty_engine_db)
    assert found.bad() == {"migrations": "the database is not migrated"}
    assert found.only("migrations").todo == "promgres migrate up"


async def test_a_database_that_is_not_there_is_unreachable(postgres_db: Database) -> None:
    nowhere = replace(postgres_db, url=postgres_db.url.replace("/test_", "/no_test_"))
    with pytest.raises(DatabaseUnreachable, match="does not exist"):
        await diagnose(nowhere)


async def test_the_doctor_changes_nothing(postgres_db: Database) -> None:
    """Even where its statements would: every question is asked in a read-only transaction."""
    async with connect(postgres_db) as connection:
        before = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
        await diagnose(postgres_db)
        after = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    assert before == after
