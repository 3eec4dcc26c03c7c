"""Who gets a connection, and when: cheap questions never wait behind dear ones, nor anybody behind
one who asks a lot.

Every question that only reads starts in the quick lane, with a short time. What takes longer is
ended there and asked again in the dear lane, which has few connections: nobody has to know
beforehand what is dear. A question that writes cannot be asked twice: of these, only a few are in
the quick lane at once.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from time import monotonic

from ingest.http.problems import Problem

OWN_CONNECTIONS = 1
"""For the catalogue and tenants' ids."""
PUSH_CONNECTIONS = 2
"""For reading measures and events."""
DEAR_SECONDS = 60.0
MOST_DEAR = 10_000
"""Questions that are remembered, and how long."""


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


class UnderWay:
    """What every caller has under way, running or waiting: of functions, measures and events.

    Args:
        most_each: questions of one caller.
    """

    def __init__(self, most_each: int) -> None:
        self._most_each = most_each
        self._questions: Counter[Hashable] = Counter()

    @contextmanager
    def one_more(self, who: Hashable) -> Iterator[None]:
        """Count a question while the block lasts.

        Raises:
            Problem: 503, it is too much.
        """
        if self._questions[who] >= self._most_each:
            message = "Too many questions of this key or role are under way"
            raise Problem(503, "PGRST003", message, "The limit is api.questions_per_caller")
        self._questions[who] += 1
        try:
            yield
        finally:
            self._questions[who] -= 1
            if not self._questions[who]:
                del self._questions[who]


class Dear:
    """Questions that took too long for the quick lane a short while ago: the same question, asked
    again as dashboards do, does not have to show it once more."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def knows(self, question: Hashable) -> bool:
        """Whether it was dear not long ago. Two questions may share what is kept of them."""
        since = self._since.get(hash(question))
        return since is not None and monotonic() < since + DEAR_SECONDS

    def note(self, question: Hashable) -> None:
        """It was dear just now."""
        key = hash(question)
        self._since.pop(key, None)
        self._since[key] = monotonic()
        if len(self._since) > MOST_DEAR:
            del self._since[next(iter(self._since))]


class Memory:
    """Room for bodies that are under way; nobody has more than half of it.

    Args:
        most: bytes of all.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._most_each = most // 2
        self._held: Counter[Hashable] = Counter()

    def take(self, who: Hashable, length: int) -> bool:
        """Hold so many bytes; False if there is no room for them."""
        if length > self._free or self._held[who] + length > self._most_each:
            return False
        self._free -= length
        self._held[who] += length
        return True

    def give(self, who: Hashable, length: int) -> None:
        """They are gone."""
        self._free += length
        self._held[who] -= length
        if not self._held[who]:
            del self._held[who]


def dear_connections(pool_size: int) -> int:
    """How many connections answer dear questions, besides a pool of this size: half of the
    processors are for others. 0 where one connection is all that there may be."""
    return max(1, (os.cpu_count() or 2) // 2) if pool_size > 1 else 0


def all_connections(pool_size: int) -> int:
    """How many connections a read side with a pool of this size has at most, besides those that
    watch the keys."""
    return pool_size + dear_connections(pool_size) + PUSH_CONNECTIONS + OWN_CONNECTIONS
