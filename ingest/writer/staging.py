"""Keep the staging tables small. Nothing reads them: only TRUNCATE empties them, never DELETE."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from ingest.logs import get_logger
from ingest.model import TARGETS
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
    """
    for target in TARGETS:
        try:
            size_bytes = await database.staging_bytes(target)
            if size_bytes > EMPTY_ABOVE_BYTES:
                await _empty(database, pauses, target, size_bytes)
        except DATABASE_ERRORS as error:
            log.warning("staging not emptied", target=target, error=str(error))


async def _empty(
    database: Database, pauses: Sequence[asyncio.Lock], target: str, size_bytes: int
) -> None:
    timeout_ms = HARD_LOCK_TIMEOUT_MS if size_bytes > HARD_LIMIT_BYTES else LOCK_TIMEOUT_MS
    async with AsyncExitStack() as stack:
        for pause in pauses:
            await stack.enter_async_context(pause)
        emptied = await database.empty_staging(target, timeout_ms)
    STAGING_EMPTIED.labels(target, "done" if emptied else "locked").inc()
