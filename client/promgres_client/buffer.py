"""What was recorded and is not sent yet: bounded, shared by the application and the senders.

Everything here takes a lock for a moment only; who waits, waits for a condition. The lock is
reentrant, because a signal handler or a finaliser may record while its thread is recording; all
counters change before anything is called, so such a handler finds them in order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Callable, NamedTuple

OVERHEAD_BYTES = 150
"""What an item takes in memory beside its characters."""


class Item(NamedTuple):
    """A recorded item.

    Attributes:
        kind: `M` (measure) or `E` (event).
        text: its JSON, ASCII only.
        origin: whatever its recorder wants to hear again when it is refused.
    """

    kind: str
    text: str
    origin: object = None


class Batch(NamedTuple):
    """Items that one request takes. `first` is the number of the first of them."""

    first: int
    items: list[Item]
    size: int


class Bounds(NamedTuple):
    """How much a batch and the whole buffer may hold, and how long a batch waits to be filled."""

    batch_items: int
    batch_bytes: int
    interval_seconds: float
    max_items: int
    max_bytes: int


def size_of(item: Item) -> int:
    """Bytes that it takes in memory."""
    return len(item[1]) + OVERHEAD_BYTES


class Buffer:
    """A queue in, batches out. Items are numbered in the order in which they came.

    Items that were taken out count against the bounds until they are settled.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.renew()

    def renew(self) -> None:
        """Forget everything, locks included, as a forked process must."""
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)
        self._watchers: list[Callable[[], None]] = []
        self._waiting: deque[Item] = deque()
        self._waiting_bytes = 0
        self._held = 0
        self._held_bytes = 0
        self._next = 0
        self._unsettled: set[int] = set()
        self._due = 0.0
        self._urgent = 0
        self.closed = False

    def __len__(self) -> int:
        """Items that are not settled."""
        return self._held

    def put(self, item: Item) -> bool:
        """Take an item, unless the buffer is full or closed; whether it was taken."""
        size = len(item[1]) + OVERHEAD_BYTES
        bounds = self._bounds
        with self._lock:
            if (
                self._held >= bounds.max_items
                or self._held_bytes + size > bounds.max_bytes
                or self.closed
            ):
                return False
            self._held += 1
            self._held_bytes += size
            self._next += 1
            before = self._waiting_bytes
            self._waiting_bytes = before + size
            self._waiting.append(item)
            count = len(self._waiting)
            if count == 1:
                self._due = time.monotonic() + bounds.interval_seconds
                self._work.notify()
            elif count == bounds.batch_items or before < bounds.batch_bytes <= before + size:
                self._work.notify()
        return True

    def fits(self, item: Item) -> bool:
        """Whether the buffer could ever hold it."""
        return size_of(item) <= self._bounds.max_bytes

    def drop_oldest(self) -> bool:
        """Let go of the oldest item that is not being sent; whether there was one."""
        with self._lock:
            if not self._waiting:
                return False
            self._release(1, self._pop(self._waiting.popleft()))
            return True

    def wait_for_room(self) -> None:
        """Wait until something was settled, or the buffer is closed."""
        with self._lock:
            if not self.closed:
                self._news.wait(1.0)

    def take(self) -> Batch | None:
        """Wait for a batch that is due: full, or old enough, or wanted by a flush.

        Returns:
            None at the end: closed, and nothing waits.
        """
        with self._lock:
            while not self._is_due():
                if self.closed and not self._waiting:
                    return None
                left = self._due - time.monotonic() if self._waiting else None
                self._work.wait(left)
            return self._cut()

    def settle(self, batch: Batch) -> None:
        """Nothing is left to do about a batch, whatever became of its items."""
        with self._lock:
            self._unsettled.discard(batch.first)
            self._release(len(batch.items), batch.size)
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher()

    def mark(self) -> int:
        """The number of the next item; all before it are urgent from now on."""
        with self._lock:
            self._urgent = self._next
            self._work.notify_all()
            return self._next

    def is_settled(self, mark: int) -> bool:
        """Whether all items before this number are settled."""
        with self._lock:
            return min(self._unsettled | {self._head()}) >= mark

    def wait_settled(self, mark: int, timeout_seconds: float | None) -> bool:
        """Wait until all items before this number are settled; whether they are."""
        with self._lock:
            return self._news.wait_for(lambda: self.is_settled(mark), timeout_seconds)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher`, in a thread of a sender, whenever something was settled."""
        with self._lock:
            self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Call it no more."""
        with self._lock:
            self._watchers.remove(watcher)

    def close(self) -> int:
        """Take nothing more, and send what is left at once; the number after the last item."""
        with self._lock:
            self.closed = True
            self._news.notify_all()
            return self.mark()

    def clear(self) -> list[Item]:
        """Take out all that is not being sent, for good."""
        with self._lock:
            items = list(self._waiting)
            self._waiting.clear()
            size, self._waiting_bytes = self._waiting_bytes, 0
            self._release(len(items), size)
            self._work.notify_all()
            return items

    def _head(self) -> int:
        return self._next - len(self._waiting)

    def _is_due(self) -> bool:
        bounds = self._bounds
        return bool(self._waiting) and (
            len(self._waiting) >= bounds.batch_items
            or self._waiting_bytes >= bounds.batch_bytes
            or self._head() < self._urgent
            or time.monotonic() >= self._due
        )

    def _cut(self) -> Batch:
        first, size = self._head(), 0
        items: list[Item] = []
        while self._waiting and len(items) < self._bounds.batch_items:
            size += self._pop(self._waiting[0])
            items.append(self._waiting.popleft())
            if size >= self._bounds.batch_bytes:
                break
        self._unsettled.add(first)
        if self._waiting:
            self._due = time.monotonic() + self._bounds.interval_seconds
            self._work.notify()
        return Batch(first, items, size)

    def _pop(self, item: Item) -> int:
        size = size_of(item)
        self._waiting_bytes -= size
        return size

    def _release(self, items: int, size: int) -> None:
        self._held -= items
        self._held_bytes -= size
        self._news.notify_all()
