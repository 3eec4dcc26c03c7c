"""Work on one request that pauses now and then, so that others have their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator

from ingest.model import Intake

PAUSE_AFTER_SECONDS = 0.005
PAUSE_SECONDS = 0.001
"""Long enough for all that waits to go one step on: an answer takes many."""

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
        try:
            memory_bytes = next(steps)
        except StopIteration as done:
            intake: Intake = done.value
            return intake
        if memory_bytes is not None:
            tell(memory_bytes)
        await asyncio.sleep(PAUSE_SECONDS)
