"""TimescaleDB without a server of its own: PGlite in Node.js, behind `pglite/server.mjs`.

A server is one process, one database, one backend. Starting from nothing takes 2.3 s (initdb),
starting from a dumped data directory 0.75 s, so every test gets a process of its own from a dump;
the next one starts while a test runs.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO

from tests.support.install import PGLITE, node

_numbers: Iterator[int] = count(1)


class PgliteServer:
    """One `server.mjs`; it ends when this process closes its input, or dies.

    Args:
        logs: folder for its log.
        load: a dumped data directory to start from.
    """

    def __init__(self, logs: Path, load: Path | None = None) -> None:
        self.log = logs / f"pglite-{next(_numbers)}.log"
        arguments = ["--load", str(load)] if load else []
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [node(), PGLITE / "server.mjs", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._port: int | None = None

    @property
    def url(self) -> str:
        """Where it listens; waits until it does."""
        if self._port is None:
            self._port = int(self._answer()["port"])
        return f"postgresql://postgres@127.0.0.1:{self._port}/template1"

    def dump(self, path: Path) -> Path:
        """Write the data directory to `path`, for `load`. No connection may be at work."""
        _ = self.url
        stdin = self._pipe(self.process.stdin)
        stdin.write(json.dumps({"dump": str(path)}).encode() + b"\n")
        stdin.flush()
        return Path(self._answer()["dumped"])

    def stop(self) -> None:
        """End it, ready or not; nothing is kept."""
        self.process.kill()
        self.process.wait(30)
        self._pipe(self.process.stdin).close()
        self._pipe(self.process.stdout).close()

    def _answer(self) -> dict[str, str]:
        line = self._pipe(self.process.stdout).readline()
        if not line:
            raise RuntimeError(f"PGlite ended:\n{self.log.read_text()}")
        answer: dict[str, str] = json.loads(line)
        return answer

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


class PgliteSupply:
    """Servers that all start from one dump; one stands ready before it is asked for."""

    def __init__(self, logs: Path, dump: Path) -> None:
        self._logs = logs
        self._dump = dump
        self._spare: PgliteServer | None = None

    def take(self) -> PgliteServer:
        """A fresh server. The caller stops it."""
        server = self._spare or PgliteServer(self._logs, self._dump)
        _ = server.url  # ready before the next one competes for the processor
        self._spare = PgliteServer(self._logs, self._dump)
        return server

    def __enter__(self) -> PgliteSupply:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spare:
            self._spare.stop()
