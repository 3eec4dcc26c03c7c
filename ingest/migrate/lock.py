"""One migration at a time in a database.

The lock ends with its transaction: a pooler that switches connections between transactions changes
nothing, and nobody holds it after a crash.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.storage.pool import AnyConnection, writing

LOCK_KEY = 0x70726F6D67726573  # "promgres"

SETTINGS = (
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;"
    " SET LOCAL client_min_messages = warning; SET LOCAL search_path = public"
)


@asynccontextmanager
async def locked(connection: AnyConnection) -> AsyncIterator[None]:
    """A transaction that no other migration of this database runs beside."""
    async with writing(connection):
        await connection.execute(SETTINGS)
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
        yield
