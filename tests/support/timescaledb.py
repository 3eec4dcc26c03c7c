"""TimescaleDB without a server of its own: PGlite in Node.js, behind `pglite/server.mjs`.

A server is one process with one database and one backend. A database from nothing takes 3 to 4 s of
processor (initdb), one from a dumped data directory 1.5 s in a new process; one that had another
from the same dump before only goes back to what it was then, in 0.05 s. So a server that a test is
done with makes the next test's database while that test has not even begun.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.support.install import PGLITE, node

_numbers: Iterator[int] = count(1)


class PgliteServer:
    """One `server.mjs`; it ends when this process closes its input, or dies.

    Args:
        logs: folder for its log.
    """

    def __init__(self, logs: Path) -> None:
        self.log = logs / f"pglite-{next(_numbers)}.log"
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [node(), PGLITE / "server.mjs"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._port: int | None = None

    def open(self, dump: Path | None = None) -> PgliteServer:
        """Begin to open a database, from a dump or from nothing; the one before is gone."""
        self._port = None
        self._ask(open=str(dump) if dump else None)
        return self

    @property
    def url(self) -> str:
        """Where it listens; waits until the database is open."""
        if self._port is None:
            self._port = int(self._answer()["port"])
        return f"postgresql://postgres@127.0.0.1:{self._port}/template1"

    def dump(self, path: Path) -> Path:
        """Write the data directory to `path`, for `open`. No connection may be at work."""
        _ = self.url
        self._ask(dump=str(path))
        return Path(self._answer()["dumped"])

    def stop(self) -> None:
        """End it, ready or not; nothing is kept."""
        self.process.kill()
        self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _ask(self, **order: str | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def _answer(self) -> dict[str, str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"PGlite ended:\n{self.log.read_text()}")
        answer: dict[str, str] = json.loads(line)
        return answer


class PgliteSupply:
    """Servers whose databases all come from one dump; each is lent to one test at a time.

    Args:
        logs: folder for their logs.
        dump: what a database is at the beginning of a test.
    """

    def __init__(self, logs: Path, dump: Path) -> None:
        self._logs = logs
        self._dump = dump
        self._idle: list[PgliteServer] = []

    @contextmanager
    def lend(self) -> Iterator[PgliteServer]:
        """A server with a fresh database. Taken back, it opens the next one by itself."""
        server = self._idle.pop() if self._idle else PgliteServer(self._logs).open(self._dump)
        try:
            _ = server.url
            yield server
            self._idle.append(server.open(self._dump))
        except BaseException:
            server.stop()
            raise

    def __enter__(self) -> PgliteSupply:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._idle:
            server.stop()
