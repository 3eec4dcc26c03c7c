"""What a parent that died without goodbye left behind: a postmaster, backends, files.

A process id in a file proves nothing: after a reboot, or in a new container, it is soon somebody
else's. Whom we signal is recognised by what the kernel says: who listens at our socket, whose
command line names our cluster.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ingest.errors import OperatorError
from ingest.logs import get_logger
from ingest.storage.embedded.account import Account
from ingest.storage.embedded.layout import Layout, addressable_socket_dir, socket_file
from ingest.storage.embedded.processes import Process, pid_behind, processes, works_in

log = get_logger("embedded")

POLL_SECONDS = 0.05
SAY_SO_EVERY_SECONDS = 10.0
QUIT_SECONDS = 5.0


def cluster_name(cluster: Path) -> str:
    """What the command lines of this cluster's backends begin with, wherever it is mounted."""
    status = cluster.stat()
    return f"promgres-{status.st_dev:x}-{status.st_ino:x}"


def postmasters(layout: Layout) -> list[int]:
    """Process ids of servers that run on the cluster. There is one at most, but a child that was
    forked a moment ago still looks like its parent."""
    at_our_socket = _pids_at_sockets(layout)
    return [
        each.pid
        for each in processes()
        if _is_postmaster(each) and (each.pid in at_our_socket or _names(each, layout.cluster))
    ]


async def stop_orphans(layout: Layout) -> None:
    """End every server process of the cluster; whoever calls this holds the directory's lock.

    A postmaster is asked for a fast shutdown and waited for as long as its checkpoint takes.

    Raises:
        OperatorError: it does not let us.
    """
    if not layout.cluster.exists():
        return
    if pids := postmasters(layout):
        log.warning("stopping the database server of a promgres that died", pid=pids[0])
        _signal(pids, signal.SIGINT)
        await _until_gone(lambda: postmasters(layout))
    await _end_backends(layout.cluster)


def clear_files(layout: Layout, account: Account) -> None:
    """Take stale files out of a new server's way. No server of the cluster runs any more.

    PostgreSQL would believe the process ids in them. `postmaster.pid` also names a block of shared
    memory, by which the server itself makes sure that nobody is left in the cluster: so the file
    stays, with our id in it, the one that a server we start takes for stale (its parent's).
    """
    for stale in layout.socket_dir.glob(".s.PGSQL.*"):
        stale.unlink(missing_ok=True)
    file = layout.cluster / "postmaster.pid"
    with suppress(FileNotFoundError):
        _, _, rest = file.read_bytes().partition(b"\n")
        _replace(file, b"%d\n%s" % (os.getpid(), rest), account)


def _is_postmaster(process: Process) -> bool:
    program, found, _ = process.command.partition(" -D ")
    return bool(found) and program.startswith("/") and program.endswith("/postgres")


def _names(process: Process, cluster: Path) -> bool:
    return f" -D {cluster} " in process.command + " " or works_in(process.pid, cluster)


def _pids_at_sockets(layout: Layout) -> set[int | None]:
    """Who listens in our socket directory. `postmaster.pid` is not asked where the socket is: in a
    copy of a data directory it names the socket of the original."""
    ports = [file.suffix[1:] for file in layout.socket_dir.glob(".s.PGSQL.*[0-9]")]
    return {
        pid_behind(socket_file(addressable_socket_dir(layout, int(port)), int(port)))
        for port in ports
        if port.isdecimal()
    }


async def _end_backends(cluster: Path) -> None:
    """Backends whose postmaster was killed end by themselves, but not amid a query, and no server
    starts while they live. What they had committed is safe, what they had not is lost either way.
    """
    title = f"postgres: {cluster_name(cluster)}:"

    def left() -> list[int]:
        return [each.pid for each in processes() if each.command.startswith(title)]

    for number in (signal.SIGQUIT, signal.SIGKILL):
        _signal(left(), number)
        with suppress(TimeoutError):
            await asyncio.wait_for(_until_gone(left), QUIT_SECONDS)


async def _until_gone(left: Callable[[], list[int]]) -> None:
    loop = asyncio.get_running_loop()
    began = said = loop.time()
    while pids := left():
        await asyncio.sleep(POLL_SECONDS)
        if loop.time() - said > SAY_SO_EVERY_SECONDS:
            said = loop.time()
            log.warning("waiting for it to end", pid=pids[0], seconds=round(said - began))


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            raise OperatorError(
                f"another user's database server (pid {pid}) runs on this data directory: stop it"
            ) from None


def _replace(file: Path, content: bytes, account: Account) -> None:
    """Replace a file of the server's account in one step, following no link that it may have put
    in the way."""
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        output.write(content)
        if account.identity:
            os.fchown(descriptor, account.uid, account.gid)
    fresh.replace(file)
