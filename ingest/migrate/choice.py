"""Which engine a database gets: decided once, at its first migration."""

from __future__ import annotations

import re

import asyncpg

from ingest.errors import MigrationError
from ingest.migrate.plan import EngineName
from ingest.storage.pool import Connection

OLDEST_POSTGRES = 15
OLDEST_TIMESCALEDB = (2, 19)


async def choose_engine(connection: Connection, requested: str) -> EngineName:
    """The engine recorded in the database, else the one to record; creates the extension for it.

    Must run inside a transaction.

    Args:
        requested: `auto`, `timescaledb` or `postgres`.

    Raises:
        MigrationError: PostgreSQL is too old, TimescaleDB was asked for and cannot be had, or
            another engine than the recorded one was asked for.
    """
    _check_postgres(connection)
    recorded = await recorded_engine(connection)
    if recorded is not None:
        if requested not in ("auto", recorded):
            raise MigrationError(
                f"this database was made with engine {recorded}, which cannot change: "
                f"leave --engine out, or use another database for {requested}"
            )
        return recorded
    if requested == "postgres":
        return "postgres"
    obstacle = await _create_timescaledb(connection)
    if obstacle is None:
        return "timescaledb"
    if requested == "timescaledb":
        raise MigrationError(f"engine timescaledb: {obstacle}")
    return "postgres"


async def recorded_engine(connection: Connection) -> EngineName | None:
    """What an earlier migration chose, None before the first one."""
    if await connection.fetchval("SELECT to_regclass('internal.setting')") is None:
        return None
    engine: EngineName | None = await connection.fetchval(
        "SELECT value FROM internal.setting WHERE key = 'engine'"
    )
    return engine


def _check_postgres(connection: Connection) -> None:
    version = connection.get_server_version()
    if version.major < OLDEST_POSTGRES:
        raise MigrationError(
            f"this is PostgreSQL {version.major}; {OLDEST_POSTGRES} or newer is needed"
        )


async def _create_timescaledb(connection: Connection) -> str | None:
    """Create the extension, or leave everything as it was and say what is in the way."""
    obstacle = await _missing(connection)
    if obstacle is not None:
        return obstacle
    attempt = connection.transaction()
    await attempt.start()
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        obstacle = await _license_obstacle(connection)
    except asyncpg.PostgresError as error:
        obstacle = f"the extension cannot be created: {error}"
    if obstacle is None:
        await attempt.commit()
    else:
        await attempt.rollback()
    return obstacle


async def _missing(connection: Connection) -> str | None:
    version = await connection.fetchval(
        "SELECT coalesce(installed_version, default_version)"
        " FROM pg_available_extensions WHERE name = 'timescaledb'"
    )
    if version is None:
        return "this server does not offer the extension timescaledb"
    if _numbers(version) < OLDEST_TIMESCALEDB:
        oldest = ".".join(map(str, OLDEST_TIMESCALEDB))
        return f"TimescaleDB {version} is offered; {oldest} or newer is needed"
    # Creating it without the library would end the whole session (FATAL).
    preloaded = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_settings WHERE name LIKE 'timescaledb.%')"
    )
    return None if preloaded else "add timescaledb to shared_preload_libraries and restart"


async def _license_obstacle(connection: Connection) -> str | None:
    found = await connection.fetchval("SELECT current_setting('timescaledb.license', true)")
    if found == "timescale":
        return None
    return f"timescaledb.license is {found!r}; continuous aggregates need 'timescale'"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
