"""Work of the write side that no request waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ingest.logs import get_logger
from ingest.storage.database import DATABASE_ERRORS

log = get_logger("background")

STAGING_EVERY_SECONDS = 5.0
DRAIN_IDLE_SECONDS = 0.5
ROLLUP_IDLE_SECONDS = 1.0


async def repeat(what: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do it for ever: at once again while it finds work, else after so many seconds.

    An unreachable database is nothing to stop for; the next round tries again.
    """
    failing = False
    while True:
        found: object = None
        try:
            found = await work()
            failing = False
        except DATABASE_ERRORS as error:
            if not failing:
                log.warning(f"{what} failed; trying on", error=str(error))
            failing = True
        if not found:
            await asyncio.sleep(seconds)
