"""`promgres migrate --beside-old-stack`: the old stack's schemas aside, and back again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import old_stack
from tests.support.databases import Database, connect, execute
from tests.support.processes import PROMGRES, Program, run

CONTENTS = """
    SELECT n.nspname, c.relname, c.relkind::text, c.relowner, c.relacl::text, n.nspacl::text,
        obj_description(n.oid, 'pg_namespace')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ($1) ORDER BY 1, 2
"""
JOBS = "SELECT job_id, scheduled FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY 1"
INTO_STAGING = f"INSERT INTO staging_internal.prometheus_remote_write VALUES {old_stack.ROW}"
EVER_SINCE = "SELECT * FROM internal.prometheus_remote_write"


def _migrate(database: Database, *arguments: str) -> Program:
    return run(PROMGRES, "migrate", *arguments, env=database.environment(), seconds=120)


async def _state(database: Database) -> list[Any]:
    """All that is the old stack's: relations, rights, rows, jobs."""
    async with connect(database) as connection:
        state = [await connection.fetch(CONTENTS, old_stack.SCHEMAS)]
        state.append(await connection.fetch(EVER_SINCE))
        if database.engine == "timescaledb":
            state.append(await connection.fetch(JOBS))
        return state


@pytest.mark.parametrize("input_", old_stack.INPUTS)
async def test_it_stands_aside_and_comes_back(empty_engine_db: Database, input_: str) -> None:
    database = empty_engine_db
    await execute(database.url, *old_stack.statements(input_, database.engine), INTO_STAGING)
    before = await _state(database)
    refused = _migrate(database)
    assert refused.process.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "promgres migrate --beside-old-stack" in refused.stderr
    assert await _state(database) == before

    done = _migrate(database, "--beside-old-stack")
    assert done.process.returncode == 0, done.output
    for name in old_stack.SCHEMAS:
        assert f"{name} is old_{name}" in done.stdout
    async with connect(database) as connection:
        rows = await connection.fetch("SELECT * FROM old_internal.prometheus_remote_write")
        assert rows == before[1]
        assert len(rows) == 1
        assert await connection.fetchval("SELECT count(*) FROM internal.sample") == 0
        if database.engine == "timescaledb":
            mine = [job["job_id"] for job in before[2]]
            jobs = dict(await connection.fetch(JOBS))
            assert mine
            assert not any(jobs[job] for job in mine)
            assert any(jobs[job] for job in jobs if job not in mine)
    assert "up to date" in _migrate(database, "status").stdout
    again = _migrate(database, "--beside-old-stack")
    script = done.stdout.partition("then in psql:")[2]
    assert again.stdout.partition("then in psql:")[2] == script

    await execute(database.url, script)
    after = await _state(database)
    assert after[:2] == before[:2]
    if database.engine == "timescaledb":
        assert [job for job in after[2] if job in before[2]] == before[2]
        assert not any(job["scheduled"] for job in after[2] if job not in before[2])
    await execute(database.url, INTO_STAGING.replace("07:08", "07:09"))  # its triggers work again
    assert len((await _state(database))[1]) == 2
    assert "--beside-old-stack" in _migrate(database).stderr


async def test_nobody_else_may_be_connected(empty_postgres_db: Database) -> None:
    database = empty_postgres_db
    await execute(database.url, *old_stack.statements("a likeness", "postgres"))
    before = await _state(database)
    assert _migrate(database, "status", "--beside-old-stack").process.returncode == 2
    async with connect(database) as telegraf:
        await telegraf.execute("SET application_name = 'telegraf'")
        refused = _migrate(database, "--beside-old-stack")
    assert refused.process.returncode == 2
    assert "postgres (telegraf)" in refused.stderr
    assert await _state(database) == before


@pytest.mark.parametrize(
    ("stranger", "named"),
    [
        ("CREATE SCHEMA app", "app (of postgres)"),
        ("CREATE SCHEMA old_geo", "schema old_geo already"),
        ("DROP TABLE cumsum.prometheus_remote_write", "this is not the old stack"),
    ],
)
async def test_nothing_is_renamed_where_something_else_stands(
    empty_postgres_db: Database, stranger: str, named: str
) -> None:
    database = empty_postgres_db
    await execute(database.url, *old_stack.statements("a likeness", "postgres"), stranger)
    before = await _state(database)
    refused = _migrate(database, "--beside-old-stack")
    assert refused.process.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert named in refused.stderr
    assert await _state(database) == before


async def test_without_an_old_stack_it_is_a_migration(empty_postgres_db: Database) -> None:
    done = _migrate(empty_postgres_db, "--beside-old-stack")
    assert done.process.returncode == 0, done.output
    assert "nothing was renamed" in done.stdout
    assert "up to date" in _migrate(empty_postgres_db, "status").stdout
