"""A PostgreSQL of a test's own, to be killed, frozen, stopped and started again.

Its settings are the server's own, safe ones: what it has committed it must have after any of this.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import psutil

from tests.support.databases import Database, blocking, execute
from tests.support.postgres import Cluster, Home, make_home
from tests.support.processes import command, free_port, is_alive, wait_until

PASSWORD = "fragile"
SAFE = {
    "fsync": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %a ",
    "autovacuum_naptime": "10s",
}


class FragilePostgres:
    """One cluster with one database; see `fragile_postgres`."""

    def __init__(self, home: Home, name: str = "fragile") -> None:
        self.home = home
        self.name = name
        self._cluster: Cluster | None = None

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.home.log

    @property
    def database(self) -> Database:
        """Its database, over the socket: whatever becomes of the network, tests get there."""
        socket = f"host={self.home.directory}&port={self.home.port}"
        return Database(f"postgresql://postgres@/{self.name}?{socket}", "postgres")

    def tcp_url(self, port: int | None = None) -> str:
        """The same over TCP, maybe through a proxy on another port."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port or self.home.port}/{self.name}"

    @property
    def is_running(self) -> bool:
        """Whether its postmaster lives."""
        return self._cluster is not None and self._cluster.process.poll() is None

    def start(self) -> None:
        """Start it, recovery included.

        Raises:
            RuntimeError: it ended instead.
        """
        self._cluster = self.home.launch()

    def kill(self) -> None:
        """SIGKILL for the postmaster and all its children at once."""
        processes = self._processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._wait_until_gone(processes)

    def kill_backend(self, random: Random, application: str = "promgres") -> bool:
        """SIGKILL for one backend at work: the postmaster ends all others and recovers.

        Returns:
            Whether there was one.
        """
        words = f"postgres: {application}"
        backends = [each for each in self._processes() if command(each).startswith(words)]
        if backends:
            with suppress(psutil.NoSuchProcess):
                random.choice(backends).kill()
        return bool(backends)

    def stop(self) -> None:
        """A fast shutdown: clients are disconnected, all is written."""
        processes = self._processes()
        assert self._cluster
        self._cluster.process.send_signal(signal.SIGINT)
        self._wait_until_gone(processes)

    def freeze(self) -> None:
        """SIGSTOP for all of it: connections stay open, and new ones too get no answer."""
        assert self._cluster
        self._cluster.process.send_signal(signal.SIGSTOP)  # it starts no further child
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """SIGCONT."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def remove(self) -> None:
        """End it, whatever state it is in, and leave nothing behind."""
        self.kill()
        shutil.rmtree(self.home.directory, ignore_errors=True)

    def _processes(self) -> list[psutil.Process]:
        if self._cluster is None or self._cluster.process.poll() is not None:
            return []
        postmaster = psutil.Process(self._cluster.process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def _wait_until_gone(self, processes: list[psutil.Process]) -> None:
        if self._cluster is not None:
            self._cluster.process.wait(60)
        wait_until(lambda: not any(map(is_alive, processes)), what="PostgreSQL has ended")


@contextmanager
def fragile_postgres(data_parent: Path | None = None) -> Iterator[FragilePostgres]:
    """A started one, with an empty database, listening on TCP too."""
    server = FragilePostgres(make_home(SAFE, free_port(), PASSWORD, data_parent))
    try:
        server.start()
        admin = server.database.url.replace(f"/{server.name}?", "/postgres?")
        blocking(execute(admin, f"CREATE DATABASE {server.name}"))
        yield server
    finally:
        server.remove()
