"""Whether what an earlier process knew still holds."""

from __future__ import annotations

from functools import cache

from ingest.known import Known
from ingest.migrate.plan import plan_digest
from ingest.storage.urls import place_of


def is_of(known: Known, url: str) -> bool:
    """Whether it is of the database at a URL, with the schema of this version."""
    return known.place == place_of(url) and known.schema == schema_digest(known.engine)


@cache
def schema_digest(engine: str) -> str:
    """Tells this version's schema from another one's."""
    return plan_digest("timescaledb" if engine == "timescaledb" else "postgres")
