"""The table of engines. Another one is its module here, its line below, its folder in
`sql/engines/`, and its checks in `doctor/examination.py`."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from ingest.config import Settings
from ingest.errors import MigrationError
from ingest.storage.engine import Engine, EngineEntry, Horizons, to_ms
from ingest.storage.engines import postgres, timescaledb
from ingest.storage.pool import AnyConnection

ENGINES = {entry.name: entry for entry in (timescaledb.ENTRY, postgres.ENTRY)}
"""By name, in the order in which `auto` tries them."""


def engine_entry(name: str) -> EngineEntry:
    """What there is to know of an engine before it is made.

    Raises:
        MigrationError: this program has no such engine.
    """
    if name not in ENGINES:
        raise MigrationError(
            f"there is no engine {name!r}, only {', '.join(ENGINES)}: if a newer promgres made the"
            " database, upgrade this one"
        )
    return ENGINES[name]


async def load_engine(connection: AnyConnection, settings: Settings) -> Engine:
    """The engine of a migrated database.

    Raises:
        MigrationError: the database is not migrated yet, or not to this version.
    """
    horizons = Horizons(to_ms(settings.receiver.oldest_timestamp))
    try:
        await horizons.read(connection)
    except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError):
        raise MigrationError("the database is not migrated: promgres migrate") from None
    return engine_entry(await engine_name(connection)).make(horizons)


def recalled_engine(
    name: str, kept: Mapping[str, tuple[int | None, int]], settings: Settings
) -> Engine:
    """The engine of a database that was met before, and need not be there now."""
    horizons = Horizons(to_ms(settings.receiver.oldest_timestamp))
    horizons.restore(kept)
    return engine_entry(name).make(horizons)


async def engine_name(connection: AnyConnection) -> str:
    """Which engine a migrated database has."""
    name: str = await connection.fetchval("SELECT value FROM internal.setting WHERE key = 'engine'")
    return name
