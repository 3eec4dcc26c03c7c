"""A process that makes workers by fork: in some milliseconds, with all modules loaded and most
memory shared, and also where the program's own files are out of reach by now (as root, this side
has become somebody else). It is forked itself, before there are threads and connections, and does
nothing but wait and fork, so that each of its children begins in order.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from ingest.prometheus import worker

_PID = struct.Struct("!q")


@dataclass(frozen=True)
class Child:
    """A worker.

    Attributes:
        connection: to it; its end is the worker's end.
        handle: of Linux, by which it is ended whoever has its number by then; elsewhere -1.
    """

    pid: int
    connection: socket.socket
    handle: int

    def kill(self) -> None:
        """End it, if it has not ended."""
        with suppress(ProcessLookupError):
            if self.handle >= 0:
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)

    def forget(self) -> None:
        """It has ended."""
        if self.handle >= 0:
            os.close(self.handle)


class Nursery:
    """Makes workers. A process that serves starts it before anything else."""

    def __init__(self) -> None:
        self._pid = 0
        self._control = self._begin()

    def worker(self) -> Child:
        """A new worker.

        Raises:
            OSError: there is no memory or no place for it.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = self._ask(theirs)
            except OSError:  # it was killed: by whoever takes memory back, perhaps
                self.close()
                self._control = self._begin()
                pid = self._ask(theirs)
        handle = -1
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):
                handle = os.pidfd_open(pid)
        return Child(pid, ours, handle)

    def close(self) -> None:
        """End it; workers end with their connections."""
        self._control.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if not self._pid:
            try:
                ours.close()
                _nurse(theirs)
            finally:
                os._exit(0)
        theirs.close()
        return ours

    def _ask(self, connection: socket.socket) -> int:
        socket.send_fds(self._control, [b"w"], [connection.fileno()])
        answer = self._control.recv(_PID.size)
        if len(answer) < _PID.size:
            raise ConnectionResetError("the nursery is gone")
        (pid,) = _PID.unpack(answer)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return int(pid)


def _nurse(control: socket.socket) -> None:
    """Fork whenever it is asked for, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells all; our parent ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    _close_all_but(control.fileno())
    gc.freeze()  # what is collected would be written to, and so shared no more
    while True:
        asked, descriptors, *_ = socket.recv_fds(control, 1, 1)
        if not asked:
            return
        connection = socket.socket(fileno=descriptors[0])
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or 1)
        if not pid:
            try:
                control.close()
                asyncio.run(worker.main(connection))
            finally:
                os._exit(0)
        connection.close()
        control.sendall(_PID.pack(pid))


def _close_all_but(kept: int) -> None:
    """Nothing that our parent listens to, writes or is connected with stays open through us."""
    os.closerange(3, kept)
    os.closerange(kept + 1, max(kept + 1, min(os.sysconf("SC_OPEN_MAX"), 1 << 16)))
