"""What will not be stored: counted by cause, and reported through `logging` without flooding it."""

from __future__ import annotations

import logging
import threading
import time

LOG = logging.getLogger("promgres_client")
QUIET_SECONDS = 60.0
"""A cause is reported when it first comes up, and again after this long at the earliest."""

INVALID = "invalid"
FULL = "full"
REFUSED = "refused"
GIVEN_UP = "given up"
CLOSED = "closed"


class Losses:
    """Counts of items that were lost, by cause."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start from nothing, as a forked process does."""
        self._lock = threading.RLock()
        self._counts: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._reported: dict[str, float] = {}

    @property
    def total(self) -> int:
        """Items lost, whatever the cause."""
        return sum(self.by_cause().values())

    def by_cause(self) -> dict[str, int]:
        """Items lost by cause: invalid, full, refused, given up, closed."""
        with self._lock:
            return dict(self._counts)

    def add(self, cause: str, items: int, reason: str) -> None:
        """Count items as lost, and report it unless that cause was reported a moment ago."""
        with self._lock:
            count = self._counts[cause] = self._counts.get(cause, 0) + items
            if not self._is_news(cause):
                return
            new, self._told[cause] = count - self._told.get(cause, 0), count
        LOG.warning("promgres: %d lost (%s, %d so far): %s", new, cause, count, reason)

    def delayed(self, reason: str) -> None:
        """Report that something is not delivered yet, unless that was reported a moment ago."""
        with self._lock:
            if not self._is_news("delayed"):
                return
        LOG.warning("promgres: not delivered yet, trying again: %s", reason)

    def report_rest(self) -> None:
        """Report what was counted since the last report."""
        with self._lock:
            rest = [(cause, n - self._told.get(cause, 0), n) for cause, n in self._counts.items()]
            self._told = dict(self._counts)
        for cause, new, count in rest:
            if new:
                LOG.warning("promgres: %d more lost (%s, %d in all)", new, cause, count)

    def _is_news(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._reported.get(what, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._reported[what] = now
        return True
