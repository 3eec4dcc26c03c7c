"""Which packs of `sql/packs/` a database has: `promgres migrate` records it, all others read it."""

from __future__ import annotations

from collections.abc import Collection

from ingest.config import DEFAULT_PACKS
from ingest.errors import MigrationError
from ingest.sqlfiles import pack_names
from ingest.storage.pool import AnyConnection


async def recorded_packs(connection: AnyConnection) -> tuple[str, ...]:
    """The packs of a migrated database."""
    recorded: str | None = await connection.fetchval(
        "SELECT value FROM internal.setting WHERE key = 'packs'"
    )
    # Without a record it was last migrated when there was one pack, and no way to do without it.
    return DEFAULT_PACKS if recorded is None else tuple(recorded.split())


def check_known(recorded: Collection[str]) -> None:
    """Refuse to migrate a database with a pack of a newer version, which would go by it.

    Raises:
        MigrationError: which one it is.
    """
    if unknown := sorted(set(recorded) - pack_names()):
        raise MigrationError(
            f"the database has pack {unknown[0]}, which this promgres lacks: upgrade this one"
        )


async def record_packs(connection: AnyConnection, packs: Collection[str]) -> None:
    """Record what `promgres migrate` was asked for, in its transaction."""
    await connection.execute(
        "INSERT INTO internal.setting (key, value) VALUES ('packs', $1)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        " WHERE setting.value <> excluded.value",
        " ".join(sorted(packs)),
    )


def check_packs(recorded: Collection[str], wanted: Collection[str] | None) -> None:
    """Refuse settings that name other packs than the database has; None is any.

    Raises:
        MigrationError: only `promgres migrate` changes them.
    """
    if wanted is not None and set(wanted) != set(recorded):
        raise MigrationError(
            f"packs is {named(wanted)} in the settings, and the database has {named(recorded)}:"
            " leave it out (PROMGRES_PACKS), or run promgres migrate with it"
        )


def named(packs: Collection[str]) -> str:
    """Packs as people read them."""
    return ", ".join(sorted(packs)) or "none"
