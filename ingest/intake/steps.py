"""Work on one request that pauses now and then, so that others have their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator

from ingest.model import Intake

PAUSE_AFTER_SECONDS = 0.005
PAUSE_SECONDS = 0.001
"""Long enough for all that waits to go one step on: an answer takes many."""

LONG_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0

Steps = Generator[int | None, None, Intake]
"""Decoding: what it yields at a pause is the memory that the request takes so far, in bytes, if it
knows; what it returns is complete."""


class Pace:
    """Tells when a pause is due."""

    def __init__(self) -> None:
        self._until: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether so much time went by since the last pause that another one is due, now."""
        now = time.perf_counter()
        if self._until is None:  # the first work, or the first after a pause
            self._until = now + PAUSE_AFTER_SECONDS
            return False
        if now < self._until:
            return False
        self._until = None
        return True


def complete(steps: Steps) -> Intake:
    """All of it at once."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            intake: Intake = done.value
            return intake


async def in_turns(steps: Steps, tell: Callable[[int], None] = lambda _: None) -> Intake:
    """All of it, others having their turn in between.

    Args:
        tell: is told at pauses how many bytes of memory it takes so far; what it raises ends it.
    """
    while True:
        started = time.perf_counter()
        try:
            memory_bytes = next(steps)
        except StopIteration as done:
            intake: Intake = done.value
            return intake
        except Exception:
            await _let_others(started)
            raise
        if memory_bytes is not None:
            tell(memory_bytes)
        await _let_others(started)


async def _let_others(started: float) -> None:
    """Pause. A step that cannot be parted (30 MB of one string) is followed by as long a pause: its
    neighbours' answers take several turns, and the next such message would begin in between."""
    taken = time.perf_counter() - started
    await asyncio.sleep(
        min(taken, LONGEST_PAUSE_SECONDS) if taken > LONG_SECONDS else PAUSE_SECONDS
    )
