"""Which processes there are, and which of them is behind a socket. Linux and macOS."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ANSWER_SECONDS = 2.0

_MACOS_SOL_LOCAL = 0
_MACOS_LOCAL_PEERPID = 2


class Process(NamedTuple):
    """A process and its command line, arguments joined by blanks."""

    pid: int
    command: str


def processes() -> Iterator[Process]:
    """All processes that we may look at, except kernel threads and the dead."""
    if sys.platform == "linux":
        return _from_proc()
    return _from_ps()


def command_of(pid: int) -> str:
    """The command line of one process, empty when there is no such process."""
    return next((each.command for each in processes() if each.pid == pid), "")


def works_in(pid: int, directory: Path) -> bool:
    """Whether a process has `directory` as its working directory (where the system tells us)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    return False


def socket_answers(path: Path) -> bool:
    """Whether somebody accepts connections at a Unix socket.

    Raises:
        PermissionError: it is none of our business.
    """
    with socket.socket(socket.AF_UNIX) as client:
        return _connect(client, path)


def pid_behind(path: Path) -> int | None:
    """Who listens at a Unix socket, by the kernel's word; None if nobody does."""
    with socket.socket(socket.AF_UNIX) as client:
        if not _connect(client, path):
            return None
        if sys.platform == "linux":
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            pid: int = struct.unpack("3i", credentials)[0]
            return pid
        with suppress(OSError):
            return client.getsockopt(_MACOS_SOL_LOCAL, _MACOS_LOCAL_PEERPID)
        return None


def _connect(client: socket.socket, path: Path) -> bool:
    client.settimeout(ANSWER_SECONDS)
    try:
        client.connect(os.fspath(path))
    except PermissionError:
        raise
    except OSError:
        return False
    return True


def _from_proc() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):  # it ended meanwhile
            raw = (entry / "cmdline").read_bytes()
            if raw:
                command = os.fsdecode(raw.rstrip(b"\0").replace(b"\0", b" "))
                yield Process(int(entry.name), command)


def _from_ps() -> Iterator[Process]:
    listing = subprocess.run(
        ["/bin/ps", "-axww", "-o", "pid=,command="], capture_output=True, check=False
    )
    for line in os.fsdecode(listing.stdout).splitlines():
        pid, _, command = line.strip().partition(" ")
        if pid.isdecimal():
            yield Process(int(pid), command.strip())
