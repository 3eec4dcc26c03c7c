"""A request's claim on the batches that carry its rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ingest.errors import Unavailable
from ingest.model import Rejection


class Ticket:
    """Done when every part of the request is decided: stored, rejected, or failed.

    A request that stops waiting changes nothing for the batches.

    Args:
        rows: samples of the request that may be stored.

    Attributes:
        undecided: rows without a result yet; those of failed parts stay undecided.
        detached: somebody else answers for the undecided rows now (the spool): a batch that still
            carries them counts them no more.
        rejections: what the database refuses for ever.
    """

    def __init__(self, rows: int) -> None:
        self.undecided = rows
        self.detached = False
        self.rejections: list[Rejection] = []
        self._open = 0
        self._failure: Unavailable | None = None
        self._done = asyncio.Event()

    def expect(self, parts: int) -> None:
        """So many parts are on their way."""
        self._open = parts
        if not parts:
            self._done.set()

    def settle(self, rows: int, rejections: Sequence[Rejection] = ()) -> None:
        """One part is decided: stored, but for what is rejected."""
        if not self.detached:
            self.undecided -= rows
        self.rejections += rejections
        self._close_part()

    def reject(self, rows: int, rejections: Sequence[Rejection]) -> None:
        """Rows that became no part of anything: the database refuses their series."""
        if not self.detached:
            self.undecided -= rows
        self.rejections += rejections

    def fail(self, failure: Unavailable) -> None:
        """One part cannot be stored now."""
        self._failure = failure
        self._close_part()

    async def wait(self) -> list[Rejection]:
        """What the database rejected.

        Raises:
            Unavailable: some part could not be stored now.
        """
        await self._done.wait()
        if self._failure is not None:
            failure = self._failure
            raise Unavailable(str(failure), failure.retry_after_seconds, failure.blames_request)
        return self.rejections

    def _close_part(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._done.set()
