"""Hours of series in the hands of a test: all that there are to make, at once."""

from __future__ import annotations

from datetime import datetime

import asyncpg

MAKE = "SELECT {target}.make_hours($1, '0', $2)"


async def make_hours(
    connection: asyncpg.Connection, before: datetime, target: str = "internal", least: int = 1
) -> None:
    """Of days that ended before some moment, and of at least so many samples; late samples are not
    waited for."""
    while await connection.fetchval(MAKE.format(target=target), before, least):
        pass
