"""Whether a database runs below a data directory, and where it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ingest.errors import OperatorError
from ingest.storage.embedded.datadir import CHOOSE_ANOTHER
from ingest.storage.embedded.layout import Layout, socket_file, socket_url
from ingest.storage.embedded.processes import socket_answers


@dataclass(frozen=True)
class PidFile:
    """What a `postmaster.pid` says; its writer may be long dead.

    Attributes:
        pid: of the postmaster; by now perhaps of somebody else.
        port: names the socket file.
        socket_dir: where the socket is.
    """

    pid: int
    port: int
    socket_dir: Path


def read_pid_file(cluster: Path) -> PidFile | None:
    """What the cluster's `postmaster.pid` says; None if there is none, or half of one."""
    try:
        lines = (cluster / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 5 or not lines[0].isdecimal() or not lines[3].isdecimal():
        return None
    return PidFile(int(lines[0]), int(lines[3]), Path(lines[4]))


def running_url(data_dir: Path, login: str = "postgres") -> str | None:
    """The URL, the superuser's or another login's, of the database that runs below `data_dir`; None
    if none does.

    In a copy of a data directory `postmaster.pid` names the original's socket: that is not ours.

    Raises:
        OperatorError: it belongs to another user.
    """
    layout = Layout(data_dir.expanduser().resolve())
    try:
        said = read_pid_file(layout.cluster)
        if said is None or said.socket_dir.resolve() != layout.socket_dir:
            return None
        if not socket_answers(socket_file(said.socket_dir, said.port)):
            return None
    except PermissionError:
        raise OperatorError(
            f"the database in {data_dir} belongs to another user: run as that user, or"
            f" {CHOOSE_ANOTHER}"
        ) from None
    return socket_url(said.socket_dir, said.port, login)
