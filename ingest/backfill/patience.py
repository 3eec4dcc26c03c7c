"""How long, and how often, something that does not answer is asked again."""

from __future__ import annotations

import asyncio
import random
import time

from ingest.errors import PromgresError

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 15.0
PATIENCE_SECONDS = 1800.0
"""Longer than most restarts, failovers and upgrades take."""


class GaveUp(PromgresError):
    """Nothing is wrong with the command: the same one goes on where it stopped. Exit status 1."""


class Patience:
    """Waits between attempts of one thing, each twice as long as the one before.

    Args:
        what: does not answer, for the message at the end.
        seconds: how long it may take in all.
    """

    def __init__(self, what: str, seconds: float = PATIENCE_SECONDS) -> None:
        self._what = what
        self._end = time.monotonic() + seconds
        self._wait = FIRST_WAIT_SECONDS

    async def wait(self, reason: str, asked_seconds: float | None = None) -> None:
        """Until the next attempt is due.

        Args:
            reason: what happened, on one line.
            asked_seconds: what a Retry-After said.

        Raises:
            GaveUp: it has taken too long.
        """
        if time.monotonic() > self._end:
            raise GaveUp(f"{self._what}: {reason}; the same command goes on where this one stops")
        seconds = self._wait if asked_seconds is None else min(asked_seconds, LONGEST_WAIT_SECONDS)
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311
        self._wait = min(self._wait * 2, LONGEST_WAIT_SECONDS)
