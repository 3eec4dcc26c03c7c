"""Removal of series of which nothing is left, and of metrics without series and rollups.

Bounded steps, each followed by as long a pause as it took. Why neither removal nor writers are in
each other's way stands in sql/core/catalogue/removal.sql.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg
from prometheus_client import Counter

from ingest.logs import get_logger
from ingest.metrics import REGISTRY
from ingest.storage.pool import Pool, borrow

log = get_logger("storage")

AT_ONCE, REMOVED_AT_ONCE = 1000, 100
"""Series of a step, and of one transaction that removes: a sender that asks for one of these waits
for its end."""
STEP_SECONDS = 120
LONGEST_PAUSE_SECONDS = 5.0
SHORTEST_IDLE_SECONDS, LONGEST_IDLE_SECONDS = 1.0, 900.0
"""Between two ways through all series."""

REMOVED = Counter(
    "promgres_series_removed",
    "Series of which nothing was left, which this process removed.",
    registry=REGISTRY,
)
METRICS_REMOVED = Counter(
    "promgres_metrics_removed",
    "Metrics without series and rollups, which this process removed.",
    registry=REGISTRY,
)


class Removal:
    """One way after the other through all series, by their ids.

    Args:
        age_seconds: younger ones stay.
    """

    def __init__(self, pool: Pool, age_seconds: float) -> None:
        self._pool = pool
        self._age_seconds = age_seconds
        self._after = 0
        self._found = 0
        self.idle_seconds = min(max(age_seconds / 4, SHORTEST_IDLE_SECONDS), LONGEST_IDLE_SECONDS)

    async def step(self) -> bool:
        """A bounded piece; False at the end of a way.

        Raises:
            DATABASE_ERRORS: the database is away or unwell.
        """
        began = time.monotonic()
        try:
            goes_on = await self._step()
        except asyncpg.LockNotAvailableError:
            return False  # writers first; later
        await asyncio.sleep(min(time.monotonic() - began, LONGEST_PAUSE_SECONDS))
        return goes_on

    async def _step(self) -> bool:
        async with borrow(self._pool, STEP_SECONDS) as connection:
            doomed, last = await connection.fetchrow(  # type: ignore[misc]
                "SELECT doomed, last FROM internal.doom_series($1, $2, make_interval(secs => $3))",
                self._after,
                AT_ONCE,
                self._age_seconds,
            )
            remove = "SELECT internal.remove_doomed($1)"
            while removed := await connection.fetchval(remove, REMOVED_AT_ONCE):
                self._found += removed
                REMOVED.inc(removed)
            if last is not None:
                self._after = last
                return True
            metrics: int = await connection.fetchval("SELECT internal.remove_metrics($1)", AT_ONCE)
        METRICS_REMOVED.inc(metrics)
        if self._found or metrics:
            log.info("removed what was empty", series=self._found, metrics=metrics)
        self._after = self._found = 0
        return bool(doomed or metrics)
