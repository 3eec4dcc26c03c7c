"""Keep the staging tables small. Nothing reads them: only TRUNCATE empties them, never DELETE."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from ingest.logs import get_logger
from ingest.storage.database import DATABASE_ERRORS, Database
from ingest.writer.metrics import STAGING_EMPTIED

log = get_logger("staging")

EMPTY_ABOVE_BYTES = 64 * 1024 * 1024
HARD_LIMIT_BYTES = 8 * EMPTY_ABOVE_BYTES
LOCK_TIMEOUT_MS = 50
HARD_LOCK_TIMEOUT_MS = 2000


async def empty_staging(database: Database, pauses: Sequence[asyncio.Lock]) -> None:
    """Empty every staging table that has grown too large, while our own writers hold still.

    Others who hold a table are not waited for, unless it has grown beyond the hard limit; the next
    round tries again.

    Args:
        pauses: locks that writers hold while they write.

    Raises:
        DATABASE_ERRORS: the sizes cannot be asked for; the next round tries again.
    """
    for store, size_bytes in (await database.staging_bytes()).items():
        try:
            if size_bytes > EMPTY_ABOVE_BYTES:
                await _empty(database, pauses, store, size_bytes)
        except DATABASE_ERRORS as error:
            log.warning("staging not emptied", store=store, error=str(error))


async def _empty(
    database: Database, pauses: Sequence[asyncio.Lock], store: str, size_bytes: int
) -> None:
    timeout_ms = HARD_LOCK_TIMEOUT_MS if size_bytes > HARD_LIMIT_BYTES else LOCK_TIMEOUT_MS
    async with AsyncExitStack() as stack:
        for pause in pauses:
            await stack.enter_async_context(pause)
        emptied = await database.empty_staging(store, timeout_ms)
    STAGING_EMPTIED.labels(store, "done" if emptied else "locked").inc()
