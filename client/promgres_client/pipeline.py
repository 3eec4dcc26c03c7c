"""The buffer, the threads that empty it, and the account of what became of everything."""

from __future__ import annotations

import threading
import time
from typing import Callable, Literal, NamedTuple

from promgres_client import losses, processes
from promgres_client.buffer import Bounds, Buffer, Item
from promgres_client.delivery import Courier, Outcome, Refusal
from promgres_client.exchange import Endpoint, Exchange
from promgres_client.losses import LOG, Losses

WhenFull = Literal["drop_newest", "drop_oldest", "block"]
_JOIN_SECONDS = 1.0
_GRACE_SECONDS = 0.1


class Policy(NamedTuple):
    """How a pipeline treats what it is given.

    Attributes:
        when_full: what happens to an item that does not fit.
        senders: connections, and requests under way at once.
        retry_seconds: how long a batch is tried; None: as long as it takes.
        compress: send bodies as gzip.
        exit_seconds: how long the end of the process may be delayed for what is not sent yet.
        on_refused: told of each item that the server refuses, in a thread of a sender.
    """

    when_full: WhenFull = "drop_newest"
    senders: int = 2
    retry_seconds: float | None = None
    compress: bool = False
    exit_seconds: float = 5.0
    on_refused: Callable[[Refusal], None] | None = None


class Pipeline:
    """Takes items from any thread and sends them in the background.

    Threads start with the first item, and again with the first one after a fork: the child sends
    what it records itself, the parent what was recorded before.

    Args:
        on_fork: called in a forked process.
    """

    def __init__(
        self, endpoint: Endpoint, bounds: Bounds, policy: Policy, on_fork: Callable[[], None]
    ) -> None:
        self.endpoint = endpoint
        self.exit_seconds = policy.exit_seconds
        self.losses = Losses()
        self._on_fork = on_fork
        self._policy = policy
        self._bounds = bounds
        self._buffer = Buffer(bounds)
        self._renew_own()
        processes.register(self)

    def renew(self) -> None:
        """Start over in a forked process, where no thread of ours lives and locks may be held."""
        self._on_fork()
        is_closed = self._buffer.closed
        self._buffer.renew()
        self._buffer.closed = is_closed
        self.losses.renew()
        self._renew_own()

    def _renew_own(self) -> None:
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._acknowledged = 0

    @property
    def acknowledged(self) -> int:
        """Items whose storing the server has confirmed."""
        return self._acknowledged

    @property
    def pending(self) -> int:
        """Items of which nothing is known yet."""
        return len(self._buffer)

    def put(self, item: Item) -> bool:
        """Take an item; whether it was taken. Blocks only with the policy `block`."""
        if not self._threads:
            self._start()
        return self._buffer.put(item) or self._put_full(item)

    def mark(self) -> int:
        """Hurry with all that was recorded so far; a number for `wait_settled`."""
        return self._buffer.mark()

    def wait_settled(self, mark: int, timeout_seconds: float | None) -> bool:
        """Wait until it is known what became of all items before a mark; whether it is."""
        return self._buffer.wait_settled(mark, timeout_seconds)

    def is_settled(self, mark: int) -> bool:
        """Whether it is known what became of all items before a mark."""
        return self._buffer.is_settled(mark)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher`, in a thread of a sender, whenever something was settled."""
        self._buffer.watch(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Call it no more."""
        self._buffer.unwatch(watcher)

    def finish(self) -> int:
        """Take nothing more and send the rest; a mark for `wait_settled`. Threads then end."""
        return self._buffer.close()

    def abandon(self) -> None:
        """Give up what is not under way, and retry nothing more."""
        self._stop.set()
        left = self._buffer.clear()
        if left:
            self.losses.add(losses.CLOSED, len(left), "not sent in time")
        self.losses.report_rest()

    def close(self, timeout_seconds: float | None) -> bool:
        """Send the rest within a time, give up what is left then; whether all of it was settled."""
        mark = self.finish()
        is_settled = self.wait_settled(mark, timeout_seconds if self._threads else 0)
        self.abandon()
        # Who waited to try again ends now; who waits for an answer may be left behind.
        deadline = time.monotonic() + (_JOIN_SECONDS if is_settled else _GRACE_SECONDS)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        if not is_settled and not self.is_settled(mark):
            LOG.warning("promgres: %d under way at the end, perhaps stored", self.pending)
        return is_settled

    def _put_full(self, item: Item) -> bool:
        """What becomes of an item that the buffer did not take."""
        while not self._buffer.closed and self._buffer.fits(item):
            if not self._make_room():
                break
            if self._buffer.put(item):
                return True
        if self._buffer.closed:
            self.losses.add(losses.CLOSED, 1, "recorded after the client was closed")
        else:
            self.losses.add(losses.FULL, 1, self._why_full())
        return False

    def _make_room(self) -> bool:
        """Whether another try is worth while."""
        when_full = self._policy.when_full
        if when_full == "drop_oldest" and self._buffer.drop_oldest():
            self.losses.add(losses.FULL, 1, self._why_full())
            return True
        ours = self._threads
        if when_full == "block" and ours and threading.current_thread() not in ours:
            self._buffer.wait_for_room()
            return True
        return False

    def _why_full(self) -> str:
        bounds = self._bounds
        return f"the buffer is full ({bounds.max_items} items or {bounds.max_bytes} bytes)"

    def _start(self) -> None:
        with self._lock:
            if self._threads or self._buffer.closed:
                return
            processes.watch_end_of_child()
            names = [f"promgres-client-{number}" for number in range(self._policy.senders)]
            threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
            self._threads = threads  # first: a signal handler may record while they start
            try:
                for thread in threads:
                    thread.start()
            except RuntimeError as error:  # too many already, or the interpreter is ending
                self._threads = [thread for thread in threads if thread.is_alive()]
                self.losses.delayed(str(error))

    def _run(self) -> None:
        """The life of a sender's thread."""
        buffer, exchange = self._buffer, Exchange(self.endpoint, self._policy.compress)
        outcome = Outcome(
            was_admitted=lambda: self._acknowledged > 0,
            acknowledged=self._acknowledge,
            delayed=self.losses.delayed,
            lost=self.losses.add,
            refused=self._refused,
        )
        courier = Courier(exchange, outcome, self._policy.retry_seconds, self._stop)
        while (batch := buffer.take()) is not None:
            try:
                courier.deliver(batch.items)
            except Exception:
                LOG.exception("promgres: a mistake of the client, please report it")
                self.losses.add(losses.GIVEN_UP, len(batch.items), "a mistake of the client")
            finally:
                buffer.settle(batch)
        exchange.close()

    def _acknowledge(self, items: int) -> None:
        with self._lock:
            self._acknowledged += items

    def _refused(self, refusal: Refusal) -> None:
        if self._policy.on_refused is None:
            return
        try:
            self._policy.on_refused(refusal)
        except Exception:
            LOG.exception("promgres: on_refused failed")
