"""One writer: takes all that waits for it as soon as it is free. No timer: a lone sample is quick,
a backlog makes large batches."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from ingest.model import TARGETS
from ingest.writer.backlog import Backlog
from ingest.writer.flush import Flusher, Part


class Lane:
    """A queue of parts and the loop that writes them.

    `pause` is held while a batch is written: who holds it knows that this writer is idle.
    """

    def __init__(self, flusher: Flusher, backlog: Backlog, max_batch_rows: int) -> None:
        self.pause = asyncio.Lock()
        self._flusher = flusher
        self._backlog = backlog
        self._max_batch_rows = max_batch_rows
        self._waiting: deque[Part] = deque()
        self._wake = asyncio.Event()
        self._closing = False

    def put(self, part: Part) -> None:
        """Queue rows; their ticket hears of them when they are decided."""
        self._waiting.append(part)
        self._wake.set()

    def close(self) -> None:
        """Let `run` return once the queue is empty."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Write whatever waits, until closed and empty."""
        while self._waiting or not self._closing:
            await self._wake.wait()
            async with self.pause:
                await self._write(self._take())
            if not self._waiting and not self._closing:
                self._wake.clear()

    def _take(self) -> list[Part]:
        parts: list[Part] = []
        rows = 0
        while self._waiting:
            rows += len(self._waiting[0].rows)
            if parts and rows > self._max_batch_rows:
                break
            parts.append(self._waiting.popleft())
        return parts

    async def _write(self, parts: list[Part]) -> None:
        for target in TARGETS:
            mine = [part for part in parts if part.target == target]
            if mine:
                started = time.monotonic()
                is_decided = await self._flusher.flush(target, mine)
                rows = sum(len(part.rows) for part in mine) if is_decided else 0
                await self._backlog.written(rows, time.monotonic() - started)
