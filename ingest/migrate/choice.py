"""Which engine a database gets: decided once, at its first migration."""

from __future__ import annotations

import re

import asyncpg

from ingest.errors import MigrationError
from ingest.migrate.lock import locked
from ingest.migrate.place import check_place
from ingest.migrate.plan import EngineName
from ingest.storage.pgerrors import CONNECTION_ERRORS
from ingest.storage.pool import AnyConnection, Pool

OLDEST_POSTGRES = 15
OLDEST_TIMESCALEDB = (2, 19)


async def choose_engine(pool: Pool, requested: str) -> EngineName:
    """The engine recorded in the database, else the one to record; creates the extension for it.

    Args:
        pool: no connection of it may be in use.
        requested: `auto`, `timescaledb` or `postgres`.

    Raises:
        MigrationError: PostgreSQL is too old, the database cannot be ours, TimescaleDB was asked
            for and cannot be had, or another engine than the recorded one was asked for.
    """
    async with pool.acquire() as connection:
        check_postgres(connection.get_server_version().major)
        await check_place(connection, to_write=True)
        recorded = await recorded_engine(connection)
    if recorded is not None:
        check_unchanged(recorded, requested)
        return recorded
    if requested == "postgres":
        return "postgres"
    obstacle = await _create_timescaledb(pool)
    if obstacle is None:
        return "timescaledb"
    if requested == "timescaledb":
        raise MigrationError(f"engine timescaledb: {obstacle}")
    return "postgres"


async def recorded_engine(connection: AnyConnection) -> EngineName | None:
    """What an earlier migration chose, None before the first one."""
    if await connection.fetchval("SELECT to_regclass('internal.setting')") is None:
        return None
    engine: EngineName | None = await connection.fetchval(
        "SELECT value FROM internal.setting WHERE key = 'engine'"
    )
    return engine


def check_unchanged(recorded: EngineName, requested: str) -> None:
    """Refuse to turn one engine into another.

    Raises:
        MigrationError: another engine than the recorded one was asked for.
    """
    if requested not in ("auto", recorded):
        raise MigrationError(
            f"this database was made with engine {recorded}, which cannot change: "
            f"leave --engine out, or use another database for {requested}"
        )


def check_postgres(major: int) -> None:
    """Refuse a PostgreSQL that lacks what `sql/` relies on.

    Raises:
        MigrationError: it is too old.
    """
    if major < OLDEST_POSTGRES:
        raise MigrationError(
            f"this is PostgreSQL {major}; version {OLDEST_POSTGRES} or newer is needed"
        )


async def _create_timescaledb(pool: Pool) -> str | None:
    """Create the extension, or leave everything as it was and say what is in the way.

    On a connection of its own: a server that does not preload the library ends the session.
    """
    obstacle = version_obstacle(
        await pool.fetchval(
            "SELECT coalesce(installed_version, default_version)"
            " FROM pg_available_extensions WHERE name = 'timescaledb'"
        )
    )
    if obstacle is not None:
        return obstacle
    try:
        async with pool.acquire() as connection, locked(connection):
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            await _check_license(connection)
    except MigrationError as error:
        return str(error)
    except (asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
        return f"the extension cannot be created: {' '.join(str(error).split())}"
    return None


def version_obstacle(version: str | None) -> str | None:
    """What is wrong with the TimescaleDB that a server offers; None if it will do."""
    if version is None:
        return "this server does not offer the extension timescaledb"
    if tuple(int(number) for number in re.findall(r"\d+", version)) < OLDEST_TIMESCALEDB:
        oldest = ".".join(map(str, OLDEST_TIMESCALEDB))
        return f"TimescaleDB {version} is offered; {oldest} or newer is needed"
    return None


async def _check_license(connection: AnyConnection) -> None:
    found = await connection.fetchval("SELECT current_setting('timescaledb.license', true)")
    if found != "timescale":
        raise MigrationError(
            f"timescaledb.license is {found!r}; continuous aggregates need 'timescale'"
        )
