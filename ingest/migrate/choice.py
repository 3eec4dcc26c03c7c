"""Which engine a database gets: decided once, at its first migration."""

from __future__ import annotations

import re

import asyncpg

from ingest.errors import MigrationError
from ingest.migrate.lock import locked
from ingest.migrate.place import check_place
from ingest.storage.engine import OLDEST_POSTGRES, Extension
from ingest.storage.engines import ENGINES, engine_entry
from ingest.storage.pgerrors import CONNECTION_ERRORS
from ingest.storage.pool import AnyConnection, Pool


async def choose_engine(pool: Pool, requested: str) -> str:
    """The engine recorded in the database, else the one to record; creates the extension for it.

    Args:
        pool: no connection of it may be in use.
        requested: the name of an engine; `auto` is the first of the table that can be had.

    Raises:
        MigrationError: PostgreSQL is too old, the database cannot be ours, the engine that was
            asked for cannot be had, or is another one than the recorded one.
    """
    async with pool.acquire() as connection:
        check_postgres(connection.get_server_version().major)
        await check_place(connection, to_write=True)
        recorded = await recorded_engine(connection)
    if recorded is not None:
        check_unchanged(recorded, requested)
        return recorded
    wanted = list(ENGINES.values()) if requested == "auto" else [engine_entry(requested)]
    obstacle = None
    for entry in wanted:
        obstacle = await _create_extension(pool, entry.extension) if entry.extension else None
        if obstacle is None:
            return entry.name
    raise MigrationError(f"engine {requested}: {obstacle}")


async def recorded_engine(connection: AnyConnection) -> str | None:
    """What an earlier migration chose, None before the first one.

    Raises:
        MigrationError: an engine that this program does not know.
    """
    if await connection.fetchval("SELECT to_regclass('internal.setting')") is None:
        return None
    engine: str | None = await connection.fetchval(
        "SELECT value FROM internal.setting WHERE key = 'engine'"
    )
    return engine and engine_entry(engine).name


def check_unchanged(recorded: str, requested: str) -> None:
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


async def _create_extension(pool: Pool, extension: Extension) -> str | None:
    """Create the extension, or leave everything as it was and say what is in the way.

    On a connection of its own: a server that does not preload the library ends the session.
    """
    obstacle = version_obstacle(
        extension,
        await pool.fetchval(
            "SELECT coalesce(installed_version, default_version)"
            " FROM pg_available_extensions WHERE name = $1",
            extension.name,
        ),
    )
    if obstacle is not None:
        return obstacle
    try:
        async with pool.acquire() as connection, locked(connection):
            await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension.name}")
            await _check_license(connection, extension)
    except MigrationError as error:
        return str(error)
    except (asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
        return f"the extension cannot be created: {' '.join(str(error).split())}"
    return None


def version_obstacle(extension: Extension, version: str | None) -> str | None:
    """What is wrong with the version that a server offers; None if it will do."""
    if version is None:
        return f"this server does not offer the extension {extension.name}"
    if tuple(int(number) for number in re.findall(r"\d+", version)) < extension.oldest:
        oldest = ".".join(map(str, extension.oldest))
        return f"{extension.title} {version} is offered; {oldest} or newer is needed"
    return None


async def _check_license(connection: AnyConnection, extension: Extension) -> None:
    setting, needed = extension.license_setting
    found = await connection.fetchval("SELECT current_setting($1, true)", setting)
    if found != needed:
        raise MigrationError(f"{setting} is {found!r}; continuous aggregates need {needed!r}")
