"""Background work goes on, whatever one round of it runs into."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time

import pytest

from ingest.daemon.background import LONGEST_BLOCK, repeat, watch_loop


@pytest.mark.parametrize(
    "trouble",
    [ConnectionRefusedError("no server"), sqlite3.OperationalError("disk is full"), KeyError(7)],
    ids=lambda trouble: type(trouble).__name__,
)
async def test_it_goes_on_after(trouble: Exception) -> None:
    rounds = 0
    enough = asyncio.Event()

    async def work() -> bool:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise trouble
        enough.set()
        return False

    task = asyncio.create_task(repeat("work", 0.001, work))
    async with asyncio.timeout(60):
        await enough.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_blocks_a_busy_loop_is_measured() -> None:
    watching = asyncio.create_task(watch_loop())
    measured = 0.0
    async with asyncio.timeout(60):
        while measured < 0.3:  # where others take the processors, it may seem to be at rest
            for _ in range(20):
                await asyncio.sleep(0.005)
                sum(range(500_000))
            time.sleep(0.4)  # noqa: ASYNC251
            await asyncio.sleep(0.01)
            (family,) = LONGEST_BLOCK.collect()
            measured = family.samples[0].value
    watching.cancel()
