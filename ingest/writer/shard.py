"""One writer: takes all that waits for it as soon as it is free. No timer: a lone sample is quick,
a backlog makes large batches.

A writer has two hands, so that the database never waits for us: while it still works on what one
of them has sent, and has the commit on disk, the other one makes and sends the next batch. They
never send at the same time: batches would only get smaller.

A hand that ends, or hangs, lets go of its batch, whose senders hear of it, and begins again.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from types import TracebackType

from ingest.errors import Unavailable
from ingest.stores import STORES
from ingest.tasks import Pulse, keep
from ingest.writer.backlog import Backlog
from ingest.writer.commit import Flusher, Part
from ingest.writer.fairness import RoundRobin

HANDS = 2
LONGEST_SECONDS = 600.0
"""No batch takes so long, and nothing waits so long for a hand: each statement of one is given up
after `database.command_timeout_seconds`, and it takes a handful of them."""


class Lane:
    """A queue of parts, tenants by turns, and the hands that write them.

    Attributes:
        pauses: one is held while a hand writes a batch: who holds them all knows that this writer
            is idle.
    """

    def __init__(self, flusher: Flusher, backlog: Backlog, max_batch_rows: int) -> None:
        self.pauses = [asyncio.Lock() for _ in range(HANDS)]
        self._flusher = flusher
        self._backlog = backlog
        self._max_batch_rows = max_batch_rows
        self._turn = asyncio.Lock()
        self._waiting: RoundRobin[Part] = RoundRobin()
        self._queue = Pulse(LONGEST_SECONDS)
        self._wake = asyncio.Event()
        self._closing = False

    def put(self, part: Part) -> None:
        """Queue rows; their ticket hears of them when they are decided."""
        if not self._waiting:
            self._queue.beat()
        self._waiting.put(part.tenant_id, part)
        self._wake.set()

    def close(self) -> None:
        """Let `run` return once the queue is empty."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Write whatever waits, until closed and empty."""
        async with asyncio.TaskGroup() as hands:
            for pause in self.pauses:
                batch = Pulse(LONGEST_SECONDS)
                work = partial(self._work, pause, batch)
                hands.create_task(keep("writer", work, [batch, self._queue]))

    async def _work(self, pause: asyncio.Lock, batch: Pulse) -> None:
        while self._waiting or not self._closing:
            async with Turn(self._turn) as turn:
                await self._wake.wait()
                async with pause:
                    parts = self._take()
                    try:
                        with batch.busy():
                            await self._write(parts, turn)
                    finally:
                        for part in parts:  # none is left open but by a defect, or when it hung
                            part.fail(Unavailable("internal error"))

    def _take(self) -> list[Part]:
        parts: list[Part] = []
        rows = 0
        while self._waiting:
            part = self._waiting.peek()
            rows += part.weight
            if parts and rows > self._max_batch_rows:
                break
            self._waiting.pop()
            parts.append(part)
        if self._waiting:
            self._queue.beat()
        else:
            self._queue.rest()
        if not self._waiting and not self._closing:
            self._wake.clear()
        return parts

    async def _write(self, parts: list[Part], turn: Turn) -> None:
        by_store: dict[str, list[Part]] = {store: [] for store in STORES}
        for part in parts:
            by_store[part.batch.store.name].append(part)
        left = [store for store, mine in by_store.items() if mine]
        while left:
            store = left.pop(0)
            mine = by_store[store]
            started = time.monotonic()
            is_decided = await self._flusher.flush(store, mine, _go_on if left else turn.end)
            rows = sum(len(part.batch) for part in mine) if is_decided else 0
            await self._backlog.written(rows, time.monotonic() - started)


class Turn:
    """A hand's turn: from taking what waits until all of it is sent."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._lasts = False

    async def __aenter__(self) -> Turn:
        await self._lock.acquire()
        self._lasts = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Let the other hand begin; ending twice is harmless."""
        if self._lasts:
            self._lasts = False
            self._lock.release()


def _go_on() -> None:
    """There is more to send before the turn ends."""
