"""Whether what an earlier process knew still holds."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from ingest.known import Known
from ingest.migrate.plan import plan_digest
from ingest.storage.urls import place_of


def is_of(known: Known, url: str, packs: Collection[str] | None) -> bool:
    """Whether it is of the database at a URL, with the schema of this version, and with the packs
    that the settings name (None: any)."""
    return (
        known.place == place_of(url)
        and known.schema == schema_digest(known.engine)
        and (packs is None or set(packs) == set(known.packs))
    )


@cache
def schema_digest(engine: str) -> str:
    """Tells this version's schema from another one's."""
    return plan_digest(engine)
