"""How far a request walks through the code: `python -m tests.bench walk`.

A daemon runs with `sys.setprofile` on its event loop's thread and notes every function of the
project that is entered; a request is sent again and again, on one connection, far apart. What is
entered between a request and the moment after its answer, each time, is the way of the request;
what begins in a function that also begins things while nobody asks is a background task. Engine
postgres, series that are known. `BENCH_CHECKOUT` is another checkout, with a `.venv` of its own,
to measure the code of. Functions are found by where they are, never by name.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.support.compose import ROOT
from tests.support.databases import Database, blocking, execute
from tests.support.messages import payload, series
from tests.support.postgres import start_cluster
from tests.support.processes import Program, public_directory
from tests.support.remote_write import HEADERS, snappy

CHECKOUT = Path(os.environ.get("BENCH_CHECKOUT", ROOT))
WARM_UPS, ROUNDS = 5, 15
SILENCE_SECONDS = 5
PAUSE_SECONDS = 0.1
"""After an answer: what is done behind it is part of the way as well."""

Ask = Callable[[http.client.HTTPConnection, int], None]
Window = tuple[float, float]
Function = tuple[str, int, str]
"""File below `ingest/`, line and name."""

PROBE = """
import asyncio, atexit, json, sys, time
try:
    import uvloop
except ImportError:  # an older checkout
    pass
else:
    uvloop.run = asyncio.run  # whose turns are Python's, and so can be seen
TURN = asyncio.Handle._run.__code__  # the event loop calls: what stands above is its caller
root, out = sys.argv[1:3]
del sys.argv[1:3]
entered, places = [], {}

def place(code):  # where a function of the project is, else None
    if code not in places:
        name = code.co_filename
        ours = name.startswith(root) and not code.co_name.startswith("<")
        where = (name[len(root):], code.co_firstlineno, code.co_qualname)
        places[code] = where if ours else None
    return places[code]

def note(frame, event, _):
    if event != "call" or (here := place(frame.f_code)) is None:
        return
    depth, root, above = 1, here, frame.f_back
    while above is not None and above.f_code is not TURN:
        if (there := place(above.f_code)) is not None:
            depth, root = depth + 1, there
        above = above.f_back
    goes_on = frame.f_code.co_code[frame.f_lasti + 1] & 3  # RESUME 0 begins, others follow a wait
    entered.append((time.monotonic(), *here, depth, root, id(frame) if goes_on else None))

file = open(out, "w")  # before the process gives up being root

def write():
    sys.setprofile(None)
    with file:
        json.dump(entered, file)

atexit.register(write)
from ingest.cli.main import main
sys.setprofile(note)
main()
"""


class Step(NamedTuple):
    """A function that was entered: when, where it is, how many of ours stand in the stack then and
    which is the outermost of them, and, of a coroutine that goes on after a wait, its frame."""

    seconds: float
    file: str
    line: int
    name: str
    depth: int
    root: Function
    frame: int | None

    @property
    def function(self) -> Function:
        """What tells it from all others."""
        return self.file, self.line, self.name

    @property
    def room(self) -> str:
        """The folder below `ingest/`, or the module."""
        return self.file.split("/")[0].removesuffix(".py")


@dataclass(frozen=True)
class Way:
    """The steps of one request, the same ones in every round."""

    rounds: list[list[Step]]

    def figures(self) -> dict[str, float]:
        """Distinct functions, files and rooms; moves and depth are the median round's."""
        each = [{step.function for step in steps} for steps in self.rounds]
        always = set.intersection(*each)
        kept = [[step for step in steps if step.function in always] for steps in self.rounds]
        return {
            "functions": len(always),
            "files": len({step.file for steps in kept for step in steps}),
            "rooms": len({step.room for steps in kept for step in steps}),
            "moves": statistics.median(_moves([step.file for step in steps]) for steps in kept),
            "depth": statistics.median(max(step.depth for step in steps) for steps in kept),
        }


def run() -> dict[str, float]:
    """The ways of a 1.0 request of two known series, of a pushed event, and of an /rpc call."""
    cluster = start_cluster()
    try:
        blocking(execute(cluster.url("postgres"), "CREATE DATABASE walk"))
        database = Database(cluster.url("walk"), "postgres")
        with public_directory() as directory:
            with _daemon(database, directory, "migrate", "up") as migration:
                assert migration.program.wait() == 0, migration.program.output
            with _daemon(database, directory, "ingest") as write_side:
                known = write_side.windows(_write)
                event = write_side.windows(_event)
            with _daemon(database, directory, "api") as read_side:
                call = read_side.windows(_call)
            ways = {
                "walk_write": write_side.way(known),
                "walk_event": write_side.way(event),
                "walk_rpc": read_side.way(call),
            }
    finally:
        cluster.stop()
    return {
        f"{name}_{figure}": value
        for name, way in ways.items()
        for figure, value in way.figures().items()
    }


@dataclass(frozen=True)
class _Daemon:
    """A process whose steps are written to a file when it ends."""

    program: Program
    steps: Path

    def windows(self, ask: Ask) -> list[Window]:
        """Ask it the same again and again: from when to when. The first window is of silence."""
        address = self.program.wait_for(r'"address": "([^"]+)".*"event": "listening"').group(1)
        connection = http.client.HTTPConnection(address, timeout=60)
        for number in range(WARM_UPS):
            ask(connection, number)
        begun = time.monotonic()
        time.sleep(SILENCE_SECONDS)
        windows = [(begun + PAUSE_SECONDS, time.monotonic())]
        for number in range(ROUNDS):
            begun = time.monotonic()
            ask(connection, WARM_UPS + number)
            time.sleep(PAUSE_SECONDS)
            windows.append((begun, time.monotonic()))
        connection.close()
        return windows

    def way(self, windows: list[Window]) -> Way:
        """What was entered in each window but the first, once the process has ended."""
        steps = [
            Step(seconds, file, line, name, depth, tuple(root), frame)
            for seconds, file, line, name, depth, root, frame in json.loads(self.steps.read_text())
        ]
        (begun, end), *asked = windows
        background = {step.root for step in steps if begun <= step.seconds <= end}
        steps = [step for step in steps if step.root not in background]
        return Way([list(_entered(steps, *window)) for window in asked])


def _entered(steps: list[Step], begun: float, end: float) -> Iterator[Step]:
    """The steps of a window; a coroutine that began before it is entered once, when it goes on."""
    begins: set[Function] = set()
    seen: set[int] = set()
    for step in steps:
        if not begun <= step.seconds <= end:
            continue
        if step.frame is None:
            begins.add(step.function)
        elif step.function in begins or step.frame in seen:
            continue
        else:
            seen.add(step.frame)
        yield step


@contextmanager
def _daemon(database: Database, directory: Path, *command: str) -> Iterator[_Daemon]:
    """A command of the measured checkout, watched, from start to its end."""
    python = CHECKOUT / ".venv" / "bin" / "python"
    env = {
        **database.environment(),
        "PROMGRES_LISTEN": "127.0.0.1:0",
        "PROMGRES_API_LISTEN": "127.0.0.1:0",
        "PROMGRES_DATA_DIR": str(directory / "data"),
        "PROMGRES_LOG_FORMAT": "json",
        "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'client'}",
    }
    steps = directory / f"{command[0]}.json"
    executable = python if python.exists() else Path(sys.executable)
    watched: list[str | Path] = [
        executable,
        "-c",
        PROBE,
        f"{CHECKOUT / 'ingest'}/",
        steps,
        *command,
    ]
    with Program(*watched, env=env, cwd=directory) as program:
        yield _Daemon(program, steps)
        if program.process.poll() is None:
            assert program.stop() == 0, program.output


def _write(connection: http.client.HTTPConnection, number: int) -> None:
    """A 1.0 request of two series, one sample each; known from the second time on."""
    sample = (int(time.time() * 1000) + number, 1.0)
    both = [series({"name": "walked", "job": job}, sample) for job in ("a", "b")]
    _ask(connection, "POST", "/api/v1/write", snappy(payload(*both)), HEADERS)


def _event(connection: http.client.HTTPConnection, number: int) -> None:
    """One event."""
    body = json.dumps({"name": "walked", "attributes": {"number": number}}).encode()
    _ask(connection, "POST", "/api/v1/event", body, {"Content-Type": "application/json"})


def _call(connection: http.client.HTTPConnection, _number: int) -> None:
    """One aggregate."""
    query = "p_metric_name=walked&p_schema=common&p_interval=1%20minute"
    _ask(connection, "GET", f"/rpc/get_agg_metric?{query}&p_from=2026-01-01&p_to=2027-01-01")


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> None:
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    text = answer.read()
    assert 200 <= answer.status < 300, (answer.status, text)


def _moves(files: list[str]) -> int:
    return sum(one != other for one, other in pairwise(files))
