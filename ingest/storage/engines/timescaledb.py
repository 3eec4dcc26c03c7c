"""Engine `timescaledb`: the database makes chunks and refreshes rollups by itself."""

from __future__ import annotations

import time
from datetime import datetime

from ingest.storage.engine import (
    DAY_MS,
    HOUSEKEEPING_SECONDS,
    EngineEntry,
    Extension,
    Horizons,
    Progress,
    Straight,
    drop_expired_keys,
    make_hours_again,
    to_datetime,
    to_ms,
)
from ingest.storage.pool import AnyConnection, Pool, borrow
from ingest.stores import ROLLED_UP

WORK_SECONDS = 600
"""The longest that one piece of background work may take."""


class TimescaleEngine:
    """Hypertables and continuous aggregates; see `sql/engines/timescaledb`."""

    name = "timescaledb"

    def __init__(self, horizons: Horizons) -> None:
        self.horizons = horizons
        self._housekeeping_due = 0.0

    async def prepare(self, pool: Pool, store: str, oldest_ms: int, newest_ms: int) -> None:
        """Nothing: an insert makes the chunk that it needs."""

    def straight_into(self, target: str, oldest_ms: int, newest_ms: int) -> Straight | None:
        """See `Engine`: compressed chunks refuse by themselves."""
        return Straight("sample")

    def forget(self, store: str) -> None:
        """Nothing is remembered."""

    async def work(self, pool: Pool) -> int:
        """Jobs of the database do it, but for old idempotency keys, which are no hypertable."""
        await self.horizons.keep_fresh(pool)
        if time.monotonic() >= self._housekeeping_due:
            async with borrow(pool, WORK_SECONDS) as connection:
                finished = await drop_expired_keys(connection)
            if finished:
                self._housekeeping_due = time.monotonic() + HOUSEKEEPING_SECONDS
        return 0

    async def refresh(
        self, connection: AnyConnection, start: datetime, end: datetime, progress: Progress
    ) -> None:
        """See `Engine`: a day at a time, each in transactions of its own."""
        first_ms = to_ms(start) // DAY_MS * DAY_MS
        days = range(first_ms, to_ms(end), DAY_MS)
        steps = [(target, day) for target in ROLLED_UP for day in days]
        for done, (target, day_ms) in enumerate(steps):
            progress(done, len(steps))
            await connection.execute(
                "CALL internal.refresh_period($1, $2, $3)",
                target,
                to_datetime(day_ms),
                to_datetime(day_ms + DAY_MS),
            )
            await make_hours_again(connection, target, to_datetime(day_ms))
        progress(len(steps), len(steps))


ENTRY = EngineEntry(
    "timescaledb",
    TimescaleEngine,
    # Continuous aggregates are not in the extension's Apache edition.
    Extension("timescaledb", "TimescaleDB", (2, 19), ("timescaledb.license", "timescale")),
    owner_logs_in=True,
)
