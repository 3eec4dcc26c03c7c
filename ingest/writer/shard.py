"""One shard: takes all that waits for it as soon as it is free. No timer: a lone sample is quick, a
backlog makes large batches.

A shard has two workers, so that the database never waits for us: while it still works on what one
of them has sent, and has the commit on disk, the other one makes and sends the next batch. They
never send at the same time, and none begins before half as much waits as the other one has under
way: batches would only get smaller.

A worker that ends, or hangs, lets go of its batch, whose senders hear of it, and begins again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from ingest.errors import Unavailable
from ingest.stores import STORES
from ingest.tasks import Pulse, keep
from ingest.writer.backlog import Backlog
from ingest.writer.commit import Committer
from ingest.writer.fairness import RoundRobin
from ingest.writer.ledger import PendingRows

WORKERS = 2
ORDER = {store: number for number, store in enumerate(STORES)}
LONGEST_SECONDS = 600.0
"""No batch takes so long, and nothing waits so long for a worker: each statement of one is given up
after `database.command_timeout_seconds`, and it takes a handful of them."""


class Shard:
    """A queue of rows, tenants by turns, and the workers that write them.

    Attributes:
        pauses: one is held while a worker writes a batch: a caller that holds them all knows that
            this shard is idle.
    """

    def __init__(self, committer: Committer, backlog: Backlog, max_batch_rows: int) -> None:
        self.pauses = [asyncio.Lock() for _ in range(WORKERS)]
        self._committer = committer
        self._backlog = backlog
        self._max_batch_rows = max_batch_rows
        # Held by the worker whose turn it is: from taking what waits until all of it is sent.
        self._sending = asyncio.Lock()
        self._turn: object | None = None
        self._waiting: RoundRobin[PendingRows] = RoundRobin()
        self._waiting_weight = 0
        self._sent_weight = 0
        self._queue = Pulse(LONGEST_SECONDS)
        self._wake = asyncio.Event()
        self._closing = False

    def put(self, pending: PendingRows) -> None:
        """Queue rows; their request hears of them when they are decided."""
        if not self._waiting_weight:
            self._queue.beat()
        self._waiting.put(pending.request.tenant_id, pending)
        self._waiting_weight += pending.weight
        self._tell()

    def close(self) -> None:
        """Let `run` return once the queue is empty."""
        self._closing = True
        self._tell()

    def _tell(self) -> None:
        """Let the worker whose turn it is begin, or have it wait for more."""
        if 0 < self._waiting_weight >= self._sent_weight / 2 or self._closing:
            self._wake.set()
        else:
            self._wake.clear()

    async def run(self) -> None:
        """Write whatever waits, until closed and empty."""
        async with asyncio.TaskGroup() as workers:
            for pause in self.pauses:
                batch = Pulse(LONGEST_SECONDS)
                work = partial(self._work, pause, batch)
                workers.create_task(keep("writer", work, [batch, self._queue]))

    async def _work(self, pause: asyncio.Lock, batch: Pulse) -> None:
        while self._waiting_weight or not self._closing:
            await self._sending.acquire()
            turn = self._turn = object()
            try:
                await self._wake.wait()
                async with pause:
                    taken, weight = self._take()
                    batch.beat()
                    try:
                        await self._write(taken, partial(self._is_sent, turn))
                    finally:
                        batch.rest()
                        self._sent_weight -= weight
                        self._tell()
                        for pending in taken:  # none is open but by a defect, or when it hung
                            if pending.is_open:
                                pending.fail(Unavailable("internal error"))
            finally:
                self._is_sent(turn)

    def _is_sent(self, turn: object) -> None:
        """A worker has sent all that it took, or ends: the other one may send. A batch that is
        tried again says so once more, in vain."""
        if self._turn is turn:
            self._turn = None
            self._sending.release()

    def _take(self) -> tuple[list[PendingRows], int]:
        """As much of what waits as one batch may have, and its weight."""
        taken: list[PendingRows] = []
        weight = 0
        while (pending := self._waiting.peek()) is not None:
            if taken and weight + pending.weight > self._max_batch_rows:
                break
            self._waiting.pop()
            taken.append(pending)
            weight += pending.weight
        self._waiting_weight -= weight
        self._sent_weight += weight
        if pending is None:
            self._queue.rest()
        else:
            self._queue.beat()
        self._tell()
        return taken, weight

    async def _write(self, taken: list[PendingRows], sent: Callable[[], None]) -> None:
        """A transaction for each store, in the fixed order; of the last one it is told `sent`."""
        by_store: dict[str, list[PendingRows]] = {}
        for pending in taken:
            by_store.setdefault(pending.rows.store.name, []).append(pending)
        stores = sorted(by_store, key=ORDER.__getitem__)
        for store in stores:
            started = time.monotonic()
            last = sent if store == stores[-1] else None
            rows = await self._committer.commit(store, by_store[store], last)
            self._backlog.written(rows, time.monotonic() - started)
