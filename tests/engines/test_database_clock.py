"""How far the database's clock is from this machine's."""

from __future__ import annotations

import time

from ingest.storage.clock import TOLERANCE_MS, DatabaseClock
from ingest.storage.pool import create_pool
from tests.support.databases import Database

DAY_SECONDS = 86_400.0
MINUTE_MS = 60_000


async def test_it_is_seen_and_followed_when_ours_jumps(engine_db: Database) -> None:
    jumps = [0.0]
    pool = await create_pool(engine_db.url, engine_db.settings().database, "test")
    clock = DatabaseClock(pool, wall=lambda: time.time() + jumps[0])
    assert clock.ahead_ms() == 0  # nobody has asked it yet
    await clock.look()
    await pool.close()
    assert clock.ahead_ms() == 0  # one machine
    jumps[0] = -DAY_SECONDS
    assert abs(clock.ahead_ms() - DAY_SECONDS * 1000) < MINUTE_MS
    jumps[0] = DAY_SECONDS
    assert abs(clock.ahead_ms() + DAY_SECONDS * 1000) < MINUTE_MS
    jumps[0] = TOLERANCE_MS / 2000
    assert clock.ahead_ms() == 0
