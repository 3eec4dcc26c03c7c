"""The read side in several processes: the first one listens, forks workers and starts again
whichever ends; each worker serves connections of its own, and knows the others' metrics.

On Linux every worker has a listening socket of its own on the same port, and the kernel parts
connections among them; elsewhere they share one. The sockets are the first process' as well: who
connects while a worker is started again waits, and is not refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from ingest.config import Settings
from ingest.config.addresses import split_address
from ingest.http.server import listen
from ingest.lifeline import ENVIRONMENT as LIFELINE
from ingest.lifeline import inherited_lifeline
from ingest.logs import get_logger
from ingest.metrics import REGISTRY

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 15.0
STEADY_SECONDS = 60.0
"""A worker that has run so long is past what made it end before."""
GOODBYE_SECONDS = 12.0
"""How long workers may take to end; they give up by themselves after 10."""
ANSWER_SECONDS = 1.0
"""How long `/metrics` waits for another worker."""
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = get_logger("api")


@dataclass
class Place:
    """Where a read side stands among several workers; `ALONE` is one by itself.

    Attributes:
        number: of this worker, from 0.
        listeners: its listening sockets; it makes its own if there are none.
        inbox: where the others' questions for metrics come in: each brings a socket to answer to.
        others: the other workers' inboxes, by number.
        is_ready: called with the address once it listens.
    """

    number: int = 0
    listeners: Sequence[socket.socket] = ()
    inbox: socket.socket | None = None
    others: dict[int, socket.socket] = field(default_factory=dict)
    is_ready: Callable[[str], None] = lambda _: None
    _telling: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        """Answer the others' questions."""
        if self.inbox is not None:
            asyncio.get_running_loop().add_reader(self.inbox, self._asked)

    async def close(self) -> None:
        """Answer no more."""
        if self.inbox is not None:
            asyncio.get_running_loop().remove_reader(self.inbox)

    async def families(self) -> Iterable[Family] | None:
        """The metrics of all workers that answer, each series labelled with its worker: so whatever
        begins anew with a worker is seen to. None if there are no others."""
        if self.inbox is None:
            return None
        told = {self.number: _dump()}
        answers = await asyncio.gather(*map(_ask, self.others.values()))
        told |= {
            number: answer
            for number, answer in zip(self.others, answers, strict=True)
            if answer is not None
        }
        return _together(told)

    def _asked(self) -> None:
        assert self.inbox is not None
        with suppress(OSError):
            _, descriptors, *_ = socket.recv_fds(self.inbox, 1, 1)
            for descriptor in descriptors:
                telling = asyncio.create_task(_tell(socket.socket(fileno=descriptor)))
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)


ALONE = Place()


async def _ask(inbox: socket.socket) -> str | None:
    """What another worker tells; None if it does not."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            socket.send_fds(inbox, [b"m"], [theirs.fileno()])
        except OSError:  # it has not answered for long, or there are no more files
            ours.close()
            return None
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return (await reader.read()).decode() or None
    except (OSError, TimeoutError):
        return None
    finally:
        writer.close()


async def _tell(connection: socket.socket) -> None:
    _, writer = await asyncio.open_connection(sock=connection)
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(_dump().encode())
            await writer.drain()
    writer.close()


def _dump() -> str:
    """This process' metrics, as `_together` reads them."""
    return json.dumps(
        [
            (each.name, each.documentation, each.type, each.unit,
             [(one.name, one.labels, one.value) for one in each.samples])
            for each in REGISTRY.collect()
        ]
    )  # fmt: skip


def _together(told: dict[int, str]) -> Iterable[Family]:
    families: dict[str, Family] = {}
    for number, text in sorted(told.items()):
        for name, documentation, kind, unit, samples in json.loads(text):
            family = families.setdefault(name, Family(name, documentation, kind, unit))
            family.samples += [
                Sample(sample, {**labels, "worker": str(number)}, value)
                for sample, labels, value in samples
            ]
    return families.values()


@dataclass
class _Worker:
    """A process, or its absence until `due`."""

    pid: int = 0
    started: float = 0.0
    pause_seconds: float = FIRST_PAUSE_SECONDS
    due: float = 0.0


class _Ended(Exception):
    """We are asked to end."""


def fork_workers(settings: Settings) -> Place:
    """Fork as many workers as `api.workers` says, and keep them running until we are asked to end,
    or our parent is gone. Returns in workers only. To be called before there are threads, or a
    loop.

    Raises:
        OperatorError: the address cannot be listened on.
        SystemExit: in the first process, at its end: with the status of the first worker if that
            does not start, which has said why.
    """
    count = settings.api.workers
    listeners = asyncio.run(_listen_for_each(settings.api_listen, count))
    inboxes = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
    for pair in inboxes:
        for each in pair:
            each.setblocking(False)
    return _Boss(listeners, inboxes).run()


async def _listen_for_each(address: str, count: int) -> list[list[socket.socket]]:
    alone = await listen(address, "--api-listen")  # refuses a port that somebody else has
    if not sys.platform.startswith("linux"):
        return [alone] * count
    port = alone[0].getsockname()[1]
    for each in alone:
        each.close()
    host, _ = split_address(address)
    place = f"{address.rpartition(':')[0] if ':' in host else host}:{port}"
    return [await listen(place, "--api-listen", shared=True) for _ in range(count)]


class _Boss:
    """The first process.

    Args:
        listeners: of each worker.
        inboxes: of each worker, first the end that it reads.
    """

    def __init__(
        self,
        listeners: Sequence[Sequence[socket.socket]],
        inboxes: Sequence[tuple[socket.socket, socket.socket]],
    ) -> None:
        self._listeners, self._inboxes = listeners, inboxes
        self._workers = [_Worker() for _ in listeners]
        self._parent = inherited_lifeline()
        self._life = os.pipe()  # its end tells workers that we are gone
        self._ready = os.pipe()
        self._woken = os.pipe()
        for descriptor in (*self._woken, self._ready[0]):
            os.set_blocking(descriptor, False)

    def run(self) -> Place:
        """Returns in workers; see `fork_workers`."""
        signal.set_wakeup_fd(self._woken[1])
        for number in (*ENDING, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        try:
            if (place := self._fork(0)) is not None:
                return place
            while not self._wait(None):
                if (status := self._ended(0)) is not None:
                    raise SystemExit(status if status > 0 else 1)
            while True:
                for which, worker in enumerate(self._workers):
                    if (status := self._ended(which)) is not None:
                        log.error("a worker ended, starting it again", worker=which, status=status)
                    is_due = not worker.pid and worker.due <= time.monotonic()
                    if is_due and (place := self._fork(which)) is not None:
                        return place
                dues = [each.due for each in self._workers if not each.pid]
                self._wait(max(0.0, min(dues) - time.monotonic()) if dues else None)
        except _Ended:
            self._stop()
            raise SystemExit(0) from None

    def _fork(self, number: int) -> Place | None:
        """Start a worker; its place, in the worker itself."""
        worker = self._workers[number]
        worker.started = time.monotonic()
        worker.pid = os.fork()
        if worker.pid:
            return None
        signal.set_wakeup_fd(-1)
        for each in (*ENDING, signal.SIGCHLD):
            signal.signal(each, signal.SIG_DFL)
        for descriptor in (*self._woken, self._life[1], self._ready[0]):
            os.close(descriptor)
        if self._parent is not None:
            os.close(self._parent)
        os.environ[LIFELINE] = str(self._life[0])
        for listeners in self._listeners:
            if listeners is not self._listeners[number]:
                for listener in listeners:
                    listener.close()
        return Place(
            number,
            self._listeners[number],
            self._inboxes[number][0],
            {each: pair[1] for each, pair in enumerate(self._inboxes) if each != number},
            self._say_ready,
        )

    def _say_ready(self, _: str) -> None:
        os.write(self._ready[1], b"r")

    def _ended(self, number: int) -> int | None:
        """The status of a worker that has ended just now; then it is due after a pause."""
        worker = self._workers[number]
        if not worker.pid:
            return None
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if not pid:
            return None
        now = time.monotonic()
        if now - worker.started >= STEADY_SECONDS:
            worker.pause_seconds = FIRST_PAUSE_SECONDS
        worker.pid, worker.due = 0, now + worker.pause_seconds
        worker.pause_seconds = min(2 * worker.pause_seconds, LONGEST_PAUSE_SECONDS)
        return os.waitstatus_to_exitcode(status)

    def _wait(self, seconds: float | None) -> bool:
        """Wait for something to happen; whether a worker has become ready.

        Raises:
            _Ended: we are asked to end.
            SystemExit: our parent is gone, and workers see that we are.
        """
        watched = [self._woken[0], self._ready[0]]
        if self._parent is not None:
            watched.append(self._parent)
        found, _, _ = select.select(watched, [], [], seconds)
        if self._parent in found and not os.read(self._parent, 1):
            raise SystemExit(1)
        if self._woken[0] in found and set(_read_all(self._woken[0])) & set(ENDING):
            raise _Ended
        return self._ready[0] in found and bool(list(_read_all(self._ready[0])))

    def _stop(self) -> None:
        """End all workers, in good order as long as that takes no longer than it may."""
        until = time.monotonic() + GOODBYE_SECONDS
        self._tell_all(signal.SIGTERM)
        while any(worker.pid for worker in self._workers):
            left = until - time.monotonic()
            if left <= 0:
                log.error("workers do not end, killing them")
                self._tell_all(signal.SIGKILL)
            with suppress(_Ended):  # once more: they are ending
                self._wait(max(0.1, left))
            for number in range(len(self._workers)):
                self._ended(number)

    def _tell_all(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)


def _read_all(descriptor: int) -> Iterator[int]:
    """What a pipe that does not block holds."""
    with suppress(BlockingIOError):
        while piece := os.read(descriptor, 1000):
            yield from piece
