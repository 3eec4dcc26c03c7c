"""Databases that cannot take us: one line that says what to do, status 2, and nothing made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from tests.support import old_stack
from tests.support.databases import Database, connect, execute
from tests.support.debian import pgbouncer
from tests.support.postgres import Cluster
from tests.support.processes import PROMGRES, Program, run

_names = count(1)
OURS = ["internal", "cumsum", "geo", "app", "api", "staging_internal", "staging_cumsum",
        "staging_geo", "staging_app"]  # fmt: skip
SCHEMAS = "SELECT count(*) FROM pg_namespace WHERE nspname = ANY ($1)"
CONTENTS = """
    SELECT n.nspname, c.relname, c.relkind::text, c.relowner, c.relacl::text, n.nspacl::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2
"""
WRITING = [
    ("migrate",),
    ("tenant", "create", "acme"),
    ("key", "create", "default"),
]
ANY = [*WRITING, ("migrate", "status"), ("refresh",), ("tenant", "list"), ("audit",), ("ingest",),
       ("api",), ("up",)]  # fmt: skip


def refused(url: str, *command: str, folder: Path, **environment: str) -> str:
    """The one line that a command says instead of doing its work."""
    env = {
        "PROMGRES_DATABASE_URL": url,
        "PROMGRES_API_DATABASE_URL": url,
        "PROMGRES_DATA_DIR": str(folder),
        "PROMGRES_LISTEN": "127.0.0.1:0",
        "PROMGRES_API_LISTEN": "127.0.0.1:0",
        "PROMGRES_LOG_FORMAT": "json",
        **environment,
    }
    done = run(PROMGRES, *command, env=env, seconds=120)
    assert done.process.returncode == 2, (command, done.output)
    assert "Traceback" not in done.output
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(said) == 1, done.output
    assert said[0].startswith("promgres: ")
    return said[0]


@asynccontextmanager
async def made(cluster: Cluster, options: str) -> AsyncIterator[Database]:
    """An empty database, made with these options."""
    admin, name = cluster.url("postgres"), f"refused_{next(_names)}"
    await execute(admin, f"CREATE DATABASE {name} TEMPLATE template0 {options}")
    yield Database(cluster.url(name), "postgres")
    await execute(admin, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "WIN1252", "EUC_JP"])
async def test_another_encoding(cluster: Cluster, encoding: str, open_path: Path) -> None:
    async with made(cluster, f"ENCODING '{encoding}' LOCALE 'C'") as database:
        said = refused(database.url, "migrate", folder=open_path)
        assert encoding in said
        assert "UTF8" in said
        async with connect(database) as connection:
            assert await connection.fetchval(SCHEMAS, OURS) == 0


@pytest.mark.parametrize("input_", old_stack.INPUTS)
async def test_the_old_stack_is_there(
    empty_postgres_db: Database, input_: str, open_path: Path
) -> None:
    database = empty_postgres_db
    await execute(database.url, *old_stack.statements(input_, "postgres"))
    async with connect(database) as connection:
        before = await connection.fetch(CONTENTS)
        login = "owner_of_the_old_stack"
        if not await connection.fetchval("SELECT to_regrole($1)", login):
            await connection.execute(f"CREATE ROLE {login} LOGIN CREATEROLE")
    owners = database.url.replace("//postgres@", f"//{login}@")
    for url in (database.url, owners):
        for command in (("migrate",), ("migrate", "status"), ("up",)):
            said = refused(url, *command, folder=open_path)
            assert "internal (of postgres), such as internal." in said
            assert "CREATE DATABASE" in said
            assert "promgres migrate --beside-old-stack" in said
    async with connect(database) as connection:
        assert await connection.fetch(CONTENTS) == before


@pytest.mark.parametrize("command", WRITING, ids=" ".join)
async def test_a_read_only_database(
    postgres_db: Database, command: tuple[str, ...], open_path: Path
) -> None:
    await _set(postgres_db, "default_transaction_read_only", "on")
    said = refused(postgres_db.url, *command, folder=open_path)
    assert "read-only" in said or "default_transaction_read_only" in said


@pytest.mark.parametrize("limit", ["statement_timeout", "idle_in_transaction_session_timeout"])
async def test_limits_that_leave_no_time(
    postgres_db: Database, limit: str, open_path: Path
) -> None:
    """The one for every command; the other for what migrates, what changes, and both sides."""
    await _set(postgres_db, limit, "1ms")
    some = [("migrate",), ("key", "create", "default"), ("ingest",), ("api",)]
    for command in ANY if limit == "statement_timeout" else some:
        said = refused(postgres_db.url, *command, folder=open_path)
        assert limit in said, (command, said)


async def test_pgbouncer_with_statement_caches(postgres_db: Database, open_path: Path) -> None:
    with pgbouncer(postgres_db) as url:
        other = await asyncpg.connect(url)  # what it has prepared stays in the server's session
        for number in range(1, 40):
            await other.execute(f"PREPARE __asyncpg_stmt_{number:x}__ AS SELECT 1")
        await other.close()
        for command in ANY:
            said = refused(url, *command, folder=open_path)
            assert "database.statement_cache_size = 0" in said
        env = {
            "PROMGRES_DATABASE_URL": url,
            "PROMGRES_DATA_DIR": str(open_path),
            "PROMGRES_LISTEN": "127.0.0.1:0",
            "PROMGRES_DATABASE__STATEMENT_CACHE_SIZE": "0",
            "PROMGRES_LOG_FORMAT": "json",
        }
        with Program(PROMGRES, "ingest", env=env) as side:
            side.wait_for('"event": "listening"')
            assert side.stop() == 0


async def _set(database: Database, name: str, value: str) -> None:
    database_name = database.url.partition("?")[0].rpartition("/")[2]
    await execute(database.url, f"ALTER DATABASE {database_name} SET {name} = '{value}'")
