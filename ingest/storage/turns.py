"""Whose turn it is at a bounded number of things: every caller has its own, one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Turns:
    """So many may pass at once; of those who wait, every caller has its turn.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def take_now(self) -> bool:
        """A turn, if nobody has to be waited for."""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    async def take(self, caller: Hashable = None) -> None:
        """Wait for a turn; give it back with `give`."""
        if self.take_now():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()  # it came too late
            raise

    @asynccontextmanager
    async def of(self, caller: Hashable) -> AsyncIterator[None]:
        """A turn, for as long as the block lasts."""
        await self.take(caller)
        try:
            yield
        finally:
            self.give()

    def give(self) -> None:
        """Let the next caller have the turn; who had the last one waits longest."""
        while self._waiting:
            caller = next(iter(self._waiting))
            turns = self._waiting.pop(caller)
            turn = turns.popleft()
            if turns:
                self._waiting[caller] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
