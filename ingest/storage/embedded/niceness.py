"""Backends that answer questions make way for those that write.

They are processes of the server's user, so the read side, which as root's is another, cannot renice
them. Who started the server can.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg

from ingest.logs import get_logger
from ingest.sqlfiles import query
from ingest.storage.embedded.layout import API_LOGIN

log = get_logger("embedded")

QUICK_NICENESS, DEAR_NICENESS = 5, 10
"""More than the server's: they get a third and a tenth of what a backend that writes gets."""
LOOK_SECONDS = 2.0
LOOKS_AT_NAMES = 5
"""Every so many looks the names of all processes are read, though none came or went: one that has
just begun may bear no name yet."""
AGAIN_SECONDS = 0.1
"""So often Linux lets a process that is not root's weigh a session."""
LONGEST_ANSWER_SECONDS = 5.0


class Niceness:
    """How much of the processors the backends of the read side get (Linux; elsewhere nothing is
    done).

    Args:
        title: what the command lines of the server's backends begin with, up to the login.
        url: of the superuser.
        uid: of the user who runs the server.
    """

    def __init__(self, title: str, url: str, uid: int) -> None:
        self._title = f"{title} {API_LOGIN} ".encode()
        self._url = url
        self._uid = uid
        self._done: set[int] = set()
        self._settled: list[str] = []
        self._looks = 0
        self._has_said = False

    async def look(self, postmaster: int) -> None:
        """Make those nicer that have come since the last look. Only children of the postmaster are
        touched."""
        children = _children(postmaster)
        self._looks += 1
        if children == self._settled and self._looks % LOOKS_AT_NAMES:
            return
        found = set(self._backends(children))
        self._done &= found
        if found == self._done:
            self._settled = children
            return
        dear = await self._dear()
        for pid in (found & dear.keys()) - self._done:
            niceness = DEAR_NICENESS if dear[pid] else QUICK_NICENESS
            while pid in self._backends(_children(postmaster)):
                try:
                    _weigh(pid, niceness, postmaster, self._uid)
                except BlockingIOError:
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
                except OSError as error:
                    if not self._has_said:
                        log.warning("readers do not make way for ingestion", reason=str(error))
                    self._has_said = True
                self._done.add(pid)
                break

    def _backends(self, children: Iterable[str]) -> Iterator[int]:
        """Those of a postmaster's children that serve the read side."""
        for pid in children:
            with suppress(OSError):  # it ended meanwhile
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(self._title):
                    yield int(pid)

    async def _dear(self) -> dict[int, bool]:
        """By process id, whether a backend answers dear questions; none if the server is busy with
        its start, its end, or too many others."""
        try:
            async with asyncio.timeout(LONGEST_ANSWER_SECONDS):
                connection = await asyncpg.connect(self._url)
                try:
                    rows = await connection.fetch(query("embedded/readers"), API_LOGIN)
                finally:
                    connection.terminate()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return {}
        return {row["pid"]: row["is_dear"] for row in rows}


def _children(postmaster: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return []


def _weigh(pid: int, niceness: int, postmaster: int, uid: int) -> None:
    """Make a backend nicer than its postmaster, and its session: where Linux shares the processors
    out among sessions first (autogroup), the niceness of a process that is alone in its own means
    nothing to others.

    Raises:
        BlockingIOError: not so soon after the last one.
        OSError: the system does not let us.
    """
    with _acting_as(uid):
        if os.getsid(pid) == pid:
            try:
                Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
            except BlockingIOError:
                raise
            except OSError as error:  # this Linux does without
                log.debug("sessions have no weight", reason=str(error))
        least = os.getpriority(os.PRIO_PROCESS, postmaster)
        os.setpriority(os.PRIO_PROCESS, pid, min(19, least + niceness))


@contextmanager
def _acting_as(uid: int) -> Iterator[None]:
    """For a moment root is but the server's user: the kernel then refuses to touch what is not
    that user's, and a container that has no CAP_SYS_NICE lets us."""
    us = os.geteuid()
    if us != uid:
        os.seteuid(uid)
    try:
        yield
    finally:
        if us != uid:
            os.seteuid(us)
