"""What clients do when their process forks and when it ends."""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import Protocol
from weakref import WeakSet


class Living(Protocol):
    """What must survive a fork and finish at the end of a process."""

    exit_seconds: float

    def renew(self) -> None:
        """Start over in a forked process."""

    def mark(self) -> int:
        """Hurry."""

    def close(self, timeout_seconds: float | None) -> bool:
        """Finish within a time."""


_living: WeakSet[Living] = WeakSet()


def register(client: Living) -> None:
    """Look after a client until nobody holds it any more."""
    _living.add(client)


def watch_end_of_child() -> None:
    """Also finish at the end of a child of `multiprocessing`, which leaves out atexit."""
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, finish_all, exitpriority=100)


def finish_all() -> None:
    """Send what all clients still hold, each within its own time, all at once."""
    started = time.monotonic()
    clients = list(_living)
    for client in clients:
        client.mark()
    for client in clients:
        client.close(max(0.0, started + client.exit_seconds - time.monotonic()))


def _after_fork() -> None:
    for client in list(_living):
        client.renew()


atexit.register(finish_all)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
