"""Whether a database can be migrated at all; asked before anything is made in it."""

from __future__ import annotations

import asyncpg

from ingest.errors import MigrationError
from ingest.sqlfiles import query
from ingest.storage.pool import AnyConnection

ANOTHER_DATABASE = "CREATE DATABASE promgres ENCODING 'UTF8' TEMPLATE template0, and give its URL"
SCHEMAS = (
    "internal", "cumsum", "geo", "app", "api",
    "staging_internal", "staging_cumsum", "staging_geo", "staging_app",
)  # fmt: skip
"""All of ours."""


async def check_place(
    connection: AnyConnection, to_write: bool, strangers_go: bool = False
) -> None:
    """Refuse a database that cannot hold all text, that holds other things under our names, or that
    takes no writes.

    Args:
        to_write: whether a migration follows.
        strangers_go: other things under our names are about to get other ones.

    Raises:
        MigrationError: what is the matter, and what to do.
    """
    place = await ask_place(connection)
    if place["encoding"] != "UTF8":
        raise MigrationError(
            f"the database is encoded in {place['encoding']}, which cannot hold all text; UTF8 is"
            f" needed: {ANOTHER_DATABASE}"
        )
    if place["is_old_stack"] and not strangers_go:
        raise MigrationError(
            f"the old stack stands in this database: {', '.join(place['strangers'])}, such as"
            f" {place['example']}; nothing of it is changed: {ANOTHER_DATABASE}, or let"
            " `promgres migrate --beside-old-stack` rename its schemas to old_…, stop its jobs and"
            " say how to take it back"
        )
    if place["strangers"] and not strangers_go:
        example = f", such as {place['example']}" if place["example"] else ""
        raise MigrationError(
            f"something else stands in this database: {', '.join(place['strangers'])}{example};"
            f" promgres has schemas of these names and changes none that is not its own:"
            f" {ANOTHER_DATABASE}"
        )
    if to_write and place["is_standby"]:
        raise MigrationError("the database is a standby: give the primary's address")
    if to_write and place["is_read_only"]:
        raise MigrationError(
            "the database takes no writes: default_transaction_read_only is on, as a provider sets"
            " it when the disk is full; make room, then ALTER DATABASE … RESET it"
        )


async def ask_place(connection: AnyConnection) -> asyncpg.Record:
    """What stands there: the columns that `sql/queries/migrate/place.sql` explains."""
    place = await connection.fetchrow(query("migrate/place"), SCHEMAS)
    assert place is not None
    return place
