"""Background work goes on, whatever one round of it runs into."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest

from ingest.daemon.background import repeat


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
