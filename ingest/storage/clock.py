"""How far the database's clock is from ours: which timestamps are ahead of the present is judged
by both."""

from __future__ import annotations

import time
from collections.abc import Callable

from ingest.storage.pool import Pool, borrow

NOW_MS = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8"
TOLERANCE_MS = 1000
"""A round trip to the database may take this long, and a difference below it is harmless."""
LOOK_SECONDS = 5


class DatabaseClock:
    """The database's time, carried on by our monotonic clock from the last time that it was asked:
    where our clock jumps, that is seen at once.

    Args:
        wall: seconds since 1970, as this machine believes.
        steady: seconds that never jump.
    """

    def __init__(
        self,
        pool: Pool,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._wall = wall
        self._steady = steady
        self._began_ms: float | None = None

    async def look(self) -> None:
        """Ask it.

        Raises:
            DATABASE_ERRORS: the database is away; what was known stays so.
        """
        async with borrow(self._pool, LOOK_SECONDS) as connection:
            asked = self._steady()
            now_ms: float = await connection.fetchval(NOW_MS, timeout=LOOK_SECONDS)
            answered = self._steady()
        self._began_ms = now_ms - (asked + answered) / 2 * 1000

    def ahead_ms(self) -> int:
        """By how much it is ahead of ours; less than nothing where it is behind; 0 if they agree,
        or if it was never asked."""
        if self._began_ms is None:
            return 0
        ahead_ms = int(self._began_ms + self._steady() * 1000 - self._wall() * 1000)
        return ahead_ms if abs(ahead_ms) > TOLERANCE_MS else 0
