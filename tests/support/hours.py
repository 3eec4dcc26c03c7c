"""Hours of series in the hands of a test: all that there are to make, at once."""

from __future__ import annotations

import asyncio
from datetime import datetime

import asyncpg

MAKE = "SELECT {target}.make_hours($1, '0', $2)"
WAITS = "SELECT NOT is_known FROM internal.hours_state WHERE target = $1"


async def make_hours(
    connection: asyncpg.Connection, before: datetime, target: str = "internal", least: int = 1,
    *, waits: bool = True, patience_seconds: float = 60,
) -> None:  # fmt: skip
    """Of days that ended before some moment, and of at least so many samples; late samples are not
    waited for. It `waits` for transactions of others: an autovacuum is one."""
    async with asyncio.timeout(patience_seconds):
        while True:
            while await connection.fetchval(MAKE.format(target=target), before, least):
                pass
            if not waits or not await connection.fetchval(WAITS, target):
                return
            await asyncio.sleep(0.1)
