"""Work of the write side that no request waits for."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable

from prometheus_client import Gauge

from ingest.errors import Unavailable
from ingest.logs import get_logger
from ingest.metrics import REGISTRY
from ingest.storage.database import DATABASE_ERRORS
from ingest.tasks import Pulse, keep

log = get_logger("background")

STAGING_EVERY_SECONDS = 5.0
CLOCK_EVERY_SECONDS = 10.0
DRAIN_IDLE_SECONDS = 0.5
ROLLUP_IDLE_SECONDS = 10.0
"""Between two looks for late data: a minute that still fills is recomputed so often at most."""
AUDIT_EVERY_SECONDS = 3600.0
AUDIT_ROWS_AT_ONCE = 10_000
LONGEST_ROUND_SECONDS = 900.0
"""A round that takes longer hangs. Every statement of ours has an end of its own long before, but
a rollup may be computed for minutes."""


LOOK_EVERY_SECONDS, LOOK_AT_REST_SECONDS = 0.05, 0.5
AT_REST = 0.02
"""Whose thread takes less of a processor is at rest, and wakes up less often: twenty looks a second
are half of what an idle write side takes. What blocks then seems shorter, by one look at most."""
WINDOW_SECONDS = 60.0
LONGEST_BLOCK = Gauge(
    "promgres_event_loop_block_seconds",
    "The longest time within the last minute or two for which no task had a turn: because of what"
    " one request needed, or because the machine was busy.",
    registry=REGISTRY,
)

OUR_SURROUNDINGS = (*DATABASE_ERRORS, sqlite3.Error, Unavailable)
"""What goes wrong around us; all else is a defect of ours."""


async def watch_loop() -> None:
    """Measure for ever how late a sleeper is woken."""
    clock = asyncio.get_running_loop().time
    blocks, began, pause, used = [0.0, 0.0], clock(), LOOK_EVERY_SECONDS, time.thread_time()
    LONGEST_BLOCK.set_function(lambda: max(blocks))
    while True:
        asleep = clock()
        await asyncio.sleep(pause)
        now = clock()
        if now > began + WINDOW_SECONDS:
            blocks[:], began = [0.0, blocks[0]], now
        blocks[0] = max(blocks[0], now - asleep - pause)
        used_before, used = used, time.thread_time()
        is_at_rest = used - used_before < AT_REST * (now - asleep)
        pause = LOOK_AT_REST_SECONDS if is_at_rest else LOOK_EVERY_SECONDS


async def repeat(
    what: str,
    seconds: float,
    work: Callable[[], Awaitable[object]],
    longest_seconds: float = LONGEST_ROUND_SECONDS,
) -> None:
    """Do it for ever: at once again while it finds work, else after so many seconds.

    Nothing is worth stopping for: an unreachable database, a full disk under the spool, a defect of
    ours. The next round tries again; of rounds that fail in a row the first one is logged. A round
    that hangs is cancelled and begun again.
    """
    pulse = Pulse(longest_seconds)
    await keep(what, lambda: _rounds(what, seconds, work, pulse), [pulse])


async def _rounds(
    what: str, seconds: float, work: Callable[[], Awaitable[object]], pulse: Pulse
) -> None:
    failing = False
    while True:
        found: object = None
        try:
            with pulse.busy():
                found = await work()
            failing = False
        except Exception as error:
            if not failing:
                is_ours = not isinstance(error, OUR_SURROUNDINGS)
                log.warning(f"{what} failed; retrying", error=str(error), exc_info=is_ours)
            failing = True
        if not found:
            await asyncio.sleep(seconds)
