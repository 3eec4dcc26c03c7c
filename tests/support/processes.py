"""Real processes in tests: start one, wait for what it says, end it, see what it left behind.

Nothing here sleeps for a fixed time: every wait has a condition and a deadline.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

PROMGRES = Path(sys.executable).parent / "promgres"
"""The command as it is installed beside the Python that runs the tests."""

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 6 << 30
"""For three workers, each with its clusters, and a data directory or two of a test."""


def _scratch() -> Path:
    if not _MEMORY.is_dir() or os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC:
        return Path("/tmp")
    room = min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available)
    return _MEMORY if room >= _ROOM_BYTES else Path("/tmp")


SCRATCH = _scratch()
"""Where the directories of tests are: in memory if there is room, and programs may stand there.
A cluster is hundreds of files: made there, it costs a tenth of the processor's time, and no fsync
waits for a disk. What is killed loses no more: the kernel keeps what was written, here and there.
The path is short (a socket's has 107 bytes) and open to the users that root lends its processes."""


_NO_AUTHORITIES = {"SSL_CERT_FILE": os.devnull}
"""aiohttp reads the system's certificates whenever it is imported, 0.04 s a start; nobody here is
asked by TLS."""


class Program:
    """A child process whose output is read while it runs. Killed at the end of a `with` block.

    Args:
        command: program and arguments.
        env: variables added to (or, if None, removed from) those of the tests, of which no
            `PROMGRES_*` variable is handed on.
        cwd: its working directory.
        user: run it as this user, with nothing of ours (only root may).
    """

    def __init__(
        self,
        *command: str | Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.lines: list[tuple[str, str]] = []
        self._news = threading.Condition()
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user_group(user)}", "--init-groups"]
        self.process = subprocess.Popen(
            [*(as_user if user else []), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(
                _NO_AUTHORITIES | dict(env or {}) if PROMGRES in command else env or {}
            ),
            cwd=cwd,
            start_new_session=True,
        )
        streams = {"stdout": self.process.stdout, "stderr": self.process.stderr}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in streams.items()
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def stdout(self) -> str:
        """All of its standard output so far."""
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        """All of its standard error so far."""
        return self._text("stderr")

    @property
    def output(self) -> str:
        """Both, as they came."""
        with self._news:
            return "".join(line for _, line in self.lines)

    def wait_for(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait until a line of its output matches; the match.

        Raises:
            AssertionError: it ended, or the time did, before such a line. The output is in it.
        """
        deadline = time.monotonic() + seconds
        seen = 0
        while True:
            with self._news:
                ended = not any(reader.is_alive() for reader in self._readers)
                new, seen = self.lines[seen:], len(self.lines)
                if not new and not ended:
                    self._news.wait(min(0.2, max(0.0, deadline - time.monotonic())))
            for _, line in new:
                if match := re.search(pattern, line):
                    return match
            if not new and (ended or time.monotonic() > deadline):
                why = "ended" if ended else f"{seconds} s passed"
                raise AssertionError(f"{why} without {pattern!r}; its output:\n{self.output}")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        """Wait until it has ended and all of its output is read; its exit status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"runs on after {seconds} s; output:\n{self.output}") from None
        for reader in self._readers:
            reader.join(1)  # a grandchild may hold the pipe open for longer than we care
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        """Ask it to end and wait until it has; its exit status."""
        self.send(number)
        return self.wait(seconds)

    def kill(self) -> None:
        """End it at once (SIGKILL), whatever state it is in."""
        self.process.kill()
        self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill()

    def _read(self, name: str, stream: IO[str] | None) -> None:
        assert stream is not None
        with stream, suppress(ValueError):
            for line in stream:
                with self._news:
                    self.lines.append((name, line))
                    self._news.notify_all()

    def _text(self, name: str) -> str:
        with self._news:
            return "".join(line for stream, line in self.lines if stream == name)


def run(
    *command: str | Path,
    env: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    seconds: float = 60,
) -> Program:
    """Run a program to its end; it carries `process.returncode`, `stdout` and `stderr`."""
    with Program(*command, env=env, cwd=cwd, user=user) as program:
        program.wait(seconds)
    return program


def can_run_promgres(user: str) -> bool:
    """Whether another user reaches our installation: not where it is below a folder of ours."""
    return run(PROMGRES, "--version", user=user).process.returncode == 0


def descendants(pid: int) -> list[psutil.Process]:
    """Children, grandchildren and so on of a process that lives."""
    with suppress(psutil.NoSuchProcess):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def child(pid: int, *words: str) -> psutil.Process:
    """The one descendant of `pid` whose command line contains all of `words`, forks of it apart."""
    named = [each for each in descendants(pid) if all(word in command(each) for word in words)]
    pids = {each.pid for each in named}
    found = [each for each in named if each.ppid() not in pids]
    assert len(found) == 1, f"{words}: {[command(each) for each in descendants(pid)]}"
    return found[0]


def command(process: psutil.Process) -> str:
    """Its command line as text, empty when it is gone."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def processes_of(directory: Path) -> list[psutil.Process]:
    """Live processes that work below `directory` or name it in command line or environment.

    PostgreSQL's own children overwrite both, but their working directory tells.
    """
    return [
        each
        for each in psutil.process_iter()
        if each.pid != os.getpid() and _belongs_to(each, str(directory))
    ]


def wait_until(
    condition: Callable[[], object], seconds: float = 60, what: str = "", every: float = 0.02
) -> None:
    """Ask `condition` again and again until it is true: `every` so many seconds, and, since what
    asks takes its processor from what is waited for, ten times a second once it has taken one.

    Raises:
        AssertionError: it is still false after `seconds`.
    """
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds} s: {what or condition}"
        time.sleep(max(every, min(waited / 10, 0.1)))


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(url: str, seconds: float = 10) -> tuple[int, str]:
    """Status and body of a GET; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


@contextmanager
def public_directory() -> Iterator[Path]:
    """An empty directory of ours that every user can traverse to, removed afterwards.

    pytest's `tmp_path` is below a 0700 directory: as root the database server, which then runs as
    an unprivileged user, cannot get there.
    """
    directory = Path(tempfile.mkdtemp(prefix="promgres-test-", dir=SCRATCH)).resolve()
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def user_group(user: str | None) -> str:
    """The numeric primary group of a user (`setpriv` wants one)."""

    return str(pwd.getpwnam(user).pw_gid) if user else ""


def kill_all(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL what a failed test left behind, then wait until it is gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(processes), timeout=10)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process is more than an entry that its parent, or init, has yet to remove."""
    with suppress(psutil.NoSuchProcess):  # it may end between two questions
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _belongs_to(process: psutil.Process, directory: str) -> bool:
    with suppress(psutil.Error):
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        texts = [*process.cmdline(), process.cwd(), *process.environ().values()]
        return any(directory in text for text in texts)
    return False


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PROMGRES_")}
    merged: dict[str, str | None] = {**inherited, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def cpu_seconds(*processes: psutil.Process) -> float:
    """What these have used so far, in user and in kernel mode; not what ended under them."""
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))
