"""A request's claim on the batches that carry its rows."""

from __future__ import annotations

import asyncio

from ingest.errors import Unavailable
from ingest.model import Rejection


class Ticket:
    """Done when every part of the request is decided: stored, rejected, or failed.

    A request that stops waiting changes nothing for the batches.
    """

    def __init__(self) -> None:
        self.rejections: list[Rejection] = []
        self._open = 0
        self._failure: Unavailable | None = None
        self._done = asyncio.Event()

    def expect(self, parts: int) -> None:
        """So many parts are on their way."""
        self._open = parts
        if not parts:
            self._done.set()

    def settle(self) -> None:
        """One part is decided."""
        self._open -= 1
        if self._open == 0:
            self._done.set()

    def fail(self, failure: Unavailable) -> None:
        """One part cannot be stored now; the whole request will be answered 503."""
        self._failure = failure
        self.settle()

    async def wait(self) -> list[Rejection]:
        """What the database rejected.

        Raises:
            Unavailable: some part could not be stored now.
        """
        await self._done.wait()
        if self._failure is not None:
            raise Unavailable(str(self._failure), self._failure.retry_after_seconds)
        return self.rejections
