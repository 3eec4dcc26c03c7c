"""Admission: how much work may wait. Senders wait a little, then get a 503."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from ingest.errors import Unavailable
from ingest.metrics import REGISTRY

FIRST_GUESS_ROWS_PER_SECOND = 100_000
SMALLEST_LIMIT_ROWS = 20_000
SPEED_SMOOTHING = 0.2
MAX_BODY_BYTES_WAITING = 256 * 1024 * 1024

LIMIT = Gauge("promgres_backlog_limit_rows", "Rows that may wait for a writer.", registry=REGISTRY)
REFUSED_BODIES = "too many requests are waiting; try again"


class Backlog:
    """Bounds rows in flight to what the database takes in `seconds`, and bodies by their bytes.

    Args:
        in_flight: rows received and not yet decided.
        seconds: work that may wait, and how long a request waits for its turn.
    """

    def __init__(self, in_flight: Callable[[], int], seconds: float) -> None:
        self._in_flight = in_flight
        self._seconds = seconds
        self._rows_per_second = float(FIRST_GUESS_ROWS_PER_SECOND)
        self._room = asyncio.Condition()
        self._body_bytes = 0
        LIMIT.set_function(lambda: self.limit_rows)

    @property
    def limit_rows(self) -> int:
        """Rows in flight beyond which nobody is let in."""
        return max(SMALLEST_LIMIT_ROWS, int(self._rows_per_second * self._seconds))

    @contextmanager
    def body(self, length_bytes: int) -> Iterator[None]:
        """Hold memory for a body while it is read and decoded.

        Raises:
            Unavailable: the bodies of others take all of it.
        """
        if self._body_bytes and self._body_bytes + length_bytes > MAX_BODY_BYTES_WAITING:
            raise Unavailable(REFUSED_BODIES)
        self._body_bytes += length_bytes
        try:
            yield
        finally:
            self._body_bytes -= length_bytes

    async def wait_for_room(self) -> None:
        """Return when a request may be decoded; the caller decodes before it awaits again.

        Raises:
            Unavailable: no room came up in time.
        """
        async with self._room:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._room.wait_for(lambda: self._in_flight() < self.limit_rows)
            except TimeoutError:
                raise Unavailable("the database cannot keep up; try again") from None

    async def written(self, rows: int, seconds: float) -> None:
        """A writer has decided so many rows in so many seconds: learn its speed, let others in.

        A batch that fails decides none: how fast a connection is refused is no speed.
        """
        if rows >= 1000 and seconds > 0:
            speed = rows / seconds
            self._rows_per_second += SPEED_SMOOTHING * (speed - self._rows_per_second)
        async with self._room:
            self._room.notify_all()
