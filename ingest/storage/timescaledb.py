"""Engine `timescaledb`: the database makes chunks and refreshes rollups by itself."""

from __future__ import annotations

from datetime import datetime

from ingest.storage.engine import (
    DAY_MS,
    ROLLUP_TARGETS,
    Horizons,
    Progress,
    to_datetime,
    to_ms,
)
from ingest.storage.pool import AnyConnection, Pool


class TimescaleEngine:
    """Hypertables and continuous aggregates; see `sql/timescaledb`."""

    name = "timescaledb"

    def __init__(self, horizons: Horizons) -> None:
        self._horizons = horizons

    async def prepare(self, pool: Pool, store: str, oldest_ms: int, newest_ms: int) -> None:
        """Nothing: an insert makes the chunk that it needs."""

    def forget(self, store: str) -> None:
        """Nothing is remembered."""

    def accepted_since_ms(self, store: str, now_ms: int) -> int:
        """See `Engine`; a sample before this would never be refreshed into a rollup."""
        return self._horizons.start_ms(store, now_ms)

    async def work(self, pool: Pool) -> int:
        """A job of the database does it; only the retention is asked for now and then."""
        await self._horizons.keep_fresh(pool)
        return 0

    async def refresh(
        self, connection: AnyConnection, start: datetime, end: datetime, progress: Progress
    ) -> None:
        """See `Engine`: a day at a time, each in transactions of its own."""
        first_ms = to_ms(start) // DAY_MS * DAY_MS
        days = range(first_ms, to_ms(end), DAY_MS)
        steps = [(target, day) for target in ROLLUP_TARGETS for day in days]
        for done, (target, day_ms) in enumerate(steps):
            progress(done, len(steps))
            await connection.execute(
                "CALL internal.refresh_period($1, $2, $3)",
                target,
                to_datetime(day_ms),
                to_datetime(day_ms + DAY_MS),
            )
        progress(len(steps), len(steps))
