"""What both sides ask of the database about tenants and keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ingest.config import DatabaseSettings
from ingest.errors import Unavailable
from ingest.storage.pgerrors import translated
from ingest.storage.pool import Pool, borrow, lazy_pool

CONNECTIONS = 2
"""Of its own: a revocation is noticed however busy the others are."""
CALL_SECONDS = 3.0
CLOSE_SECONDS = 1.0


class TenantDatabase:
    """Calls of schema `internal`, each a statement by itself; all raise Unavailable.

    Use `open`, then `close`.
    """

    def __init__(self, url: str, settings: DatabaseSettings, application_name: str) -> None:
        self._url = url
        self._settings = settings.model_copy(update={"pool_size": CONNECTIONS})
        self._application_name = application_name
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Make it ready; nothing is connected yet."""
        self._pool = await lazy_pool(self._url, self._settings, self._application_name)

    async def close(self) -> None:
        """Let go of the connections, with little patience."""
        if self._pool is None:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._pool.close(), CLOSE_SECONDS)

    async def directory_version(self) -> int:
        """A number that changes whenever a tenant or a key does."""
        version: int = await self._call("internal.directory_version()")
        return version

    async def key_directory(self) -> str:
        """All tenants and keys: the document of `internal.key_directory()`."""
        document: str = await self._call("internal.key_directory()::text")
        return document

    async def record_refusals(self, refusals: str) -> None:
        """Keep refusals in `app.audit`: a JSON array, see `internal.record_refusals`."""
        await self._call("internal.record_refusals($1::text::jsonb)", refusals)

    async def note_key_use(self, key_ids: Sequence[str]) -> None:
        """Keys that were used just now."""
        await self._call("internal.note_key_use($1::text[])", list(key_ids))

    async def drop_expired_audit(self, days: int, limit: int) -> int:
        """Remove rows of `app.audit` that are older; how many, `limit` at most."""
        dropped: int = await self._call("internal.drop_expired_audit($1, $2)", days, limit)
        return dropped

    async def _call(self, expression: str, *arguments: object) -> Any:
        assert self._pool is not None, "not open"
        with translated(
            refused=lambda error: Unavailable(f"the database refuses: {error}"),
            gone=lambda _: Unavailable("the database is not reachable"),
        ):
            async with asyncio.timeout(CALL_SECONDS), borrow(self._pool, CALL_SECONDS) as lent:
                return await lent.fetchval(f"SELECT {expression}", *arguments)
