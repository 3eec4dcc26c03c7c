"""Supervision of tasks: what has to run as long as its process is kept running, or said to be dead.

A task that ends by an error, or hangs, is logged, counted and begun again. One that cannot be
ended, or that ends again and again, ends the process: whoever started that starts it again, and
nothing acknowledged depends on it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prometheus_client import Counter, Gauge

from ingest.logs import get_logger, tell_repeated
from ingest.metrics import REGISTRY

log = get_logger("tasks")

CHECK_SECONDS = 5.0
"""How often it is asked whether a task hangs."""
GOODBYE_SECONDS = 5.0
"""How long a task that hangs may take to end, once it is cancelled."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 60.0
"""A task that has run so long is past what made it end before."""
MOST_ENDS = 10
"""In a row; then a new process has to do."""

ENDS = Counter(
    "promgres_task_ends",
    "Long-lived tasks that ended without being asked to (`ended`) or made no progress (`hung`).",
    ["task", "reason"],
    registry=REGISTRY,
)
RUNNING = Gauge(
    "promgres_task_running",
    "Long-lived tasks that are running; one that has ended is begun again.",
    ["task"],
    registry=REGISTRY,
)

Work = Callable[[], Coroutine[Any, Any, None]]

_TROUBLE: dict[object, str] = {}
"""Of tasks that do not go now, by the supervision of each: what to tell."""


class Pulse:
    """Since when something has been under way that has to end some time.

    Args:
        longest_seconds: without progress for longer, it hangs.
    """

    def __init__(self, longest_seconds: float) -> None:
        self.longest_seconds = longest_seconds
        self._since: float | None = None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While this lasts, the time counts."""
        self.beat()
        try:
            yield
        finally:
            self.rest()

    def beat(self) -> None:
        """Work has begun, or made progress."""
        self._since = asyncio.get_running_loop().time()

    def rest(self) -> None:
        """Nothing is under way."""
        self._since = None

    @property
    def hangs(self) -> bool:
        """Whether nothing has happened for too long."""
        if self._since is None:
            return False
        return asyncio.get_running_loop().time() - self._since > self.longest_seconds


def end_process(name: str) -> None:
    """End at once: what is acknowledged is committed or in the spool, and nothing here can be
    trusted to end in good order."""
    log.critical("a task cannot be kept going; the process ends, to be started again", task=name)
    os._exit(1)


def go_on(name: str) -> None:
    """For work that is of use and not needed: nothing ends for its sake, it is only begun again."""


async def keep(
    name: str,
    work: Work,
    pulses: Sequence[Pulse] = (),
    give_up: Callable[[str], None] = end_process,
) -> None:
    """Do work that must not end until it returns or this is cancelled.

    Args:
        name: for log and metrics.
        work: begun anew each time; what it had in its hands when it was ended, it has let go of.
        pulses: if one of them hangs, the work is cancelled and begun again.
        give_up: called when neither helps.
    """
    loop = asyncio.get_running_loop()
    supervision = object()
    ends = 0
    try:
        while True:
            began = loop.time()
            reason = await _run(name, work, pulses, give_up)
            if reason is None:
                return
            _TROUBLE[supervision] = f"task {name} {reason}"
            ENDS.labels(name, reason).inc()
            ends = 1 if loop.time() - began > STEADY_SECONDS else ends + 1
            if ends >= MOST_ENDS:
                give_up(name)
            await asyncio.sleep(min(FIRST_PAUSE_SECONDS * 2**ends, LONGEST_PAUSE_SECONDS))
            del _TROUBLE[supervision]
    finally:
        _TROUBLE.pop(supervision, None)


async def _run(
    name: str, work: Work, pulses: Sequence[Pulse], give_up: Callable[[str], None]
) -> str | None:
    """Do it once: None if it returned, else how it came to its end, which is logged."""
    task = asyncio.get_running_loop().create_task(work(), name=name)
    RUNNING.labels(name).inc()
    try:
        while not task.done():
            await asyncio.wait([task], timeout=CHECK_SECONDS if pulses else None)
            if not task.done() and any(pulse.hangs for pulse in pulses):
                log.error("a task hangs; beginning it again", task=name)
                task.cancel()
                await asyncio.wait([task], timeout=GOODBYE_SECONDS)
                if not task.done():
                    give_up(name)
                return "hung"
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            return None
        log.error("a task ended; beginning it again", task=name, exc_info=error)
        return "ended"
    finally:
        RUNNING.labels(name).dec()
        for pulse in pulses:
            pulse.rest()
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=GOODBYE_SECONDS)


def trouble() -> str | None:
    """What is wrong with the tasks of this process now; None if they all go."""
    return next(iter(_TROUBLE.values()), None)


async def tell_now_and_then() -> None:
    """Say what the log has kept back, also when nothing else is said."""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        tell_repeated()
