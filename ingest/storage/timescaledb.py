"""Engine `timescaledb`: the database makes chunks and refreshes rollups by itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ingest.storage.engine import (
    DAY_MS,
    ROLLUP_TARGETS,
    Horizon,
    Progress,
    to_datetime,
    to_ms,
)
from ingest.storage.pool import AnyConnection, Pool


class TimescaleEngine:
    """Hypertables and continuous aggregates; see `sql/timescaledb`."""

    name = "timescaledb"

    def __init__(self, horizons: Mapping[str, Horizon]) -> None:
        self._horizons = horizons

    async def prepare(self, pool: Pool, target: str, oldest_ms: int, newest_ms: int) -> None:
        """Nothing: an insert makes the chunk that it needs."""

    def forget(self, target: str) -> None:
        """Nothing is remembered."""

    def accepted_since_ms(self, target: str, now_ms: int) -> int:
        """See `Engine`; a sample before this would never be refreshed into a rollup."""
        return self._horizons[target].start_ms(now_ms)

    async def work(self, pool: Pool) -> int:
        """Nothing: a job of the database does it."""
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
