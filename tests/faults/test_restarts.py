"""How long a restart of `promgres up` or of one of its parts takes, under load; nothing is lost.

`make faults` prints the figures: from the signal (or, for `up` itself, from the start of the next
one) until somebody listens, until the first request is acknowledged, until the database takes
connections, and from then until the first commit.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import NamedTuple

import asyncpg
import pytest

from tests.support.crowd import Crowd, assert_stored
from tests.support.databases import Database, blocking
from tests.support.metrics import Metrics
from tests.support.processes import (
    free_port,
    get,
    kill_all,
    processes_of,
    public_directory,
    wait_until,
)
from tests.support.up import Up

ROUNDS = max(1, int(os.environ.get("PROMGRES_FAULT_ROUNDS", "3")) // 10)
SEED = int(os.environ.get("PROMGRES_FAULT_SEED", "20261127"))

pytestmark = pytest.mark.timeout(300 + 300 * ROUNDS)


class Timing(NamedTuple):
    """Seconds of one restart; see the head of this file."""

    listens: float
    acknowledges: float
    commits: float


class Place:
    """A data directory, its addresses, and the `up` that runs there."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "data"
        self.write, self.read = (f"127.0.0.1:{free_port()}" for _ in range(2))
        url = f"postgresql://postgres@/postgres?host={self.data_dir}/postgres/socket&port=5432"
        self.database = Database(url, "postgres")
        self.up = self.start()

    def start(self) -> Up:
        """Another `up`."""
        flags = ("--listen", self.write, "--api-listen", self.read)
        return Up(self.data_dir, *flags, env={"PROMGRES_LOG_FORMAT": "json"})

    def listens(self) -> bool:
        """Whether somebody takes connections on the write port."""
        host, port = self.write.split(":")
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            return False
        return True

    def database_answers(self) -> bool:
        """Whether it takes connections."""
        try:
            return blocking(_answers(self.database.url))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    def written(self) -> float:
        """Samples that the write side of now has committed; 0 where there is none."""
        status, _ = get(f"http://{self.write}/-/healthy")
        return Metrics(self.write).samples("written") if status == 200 else 0


def test_restarts(capsys: pytest.CaptureFixture[str]) -> None:
    random = Random(SEED)
    timings: dict[str, list[Timing]] = defaultdict(list)
    with public_directory() as directory:
        try:
            place = Place(directory)
            place.up.wait_until_ready(180)
            with Crowd(f"http://{place.write}/api/v1/write", SEED, samples=200) as crowd:
                for _ in range(ROUNDS):
                    for name, strike in FAULTS.items():
                        since = len(crowd.requests)
                        crowd.go()
                        crowd.wait_for_acknowledged(random.randint(5, 40), 120)
                        timings[name].append(_measure(place, crowd, strike))
                        crowd.pause()
                        wait_until(lambda: _is_ready(place), 120, place.up.output)
                        wait_until(lambda: Metrics(place.write).at_rest, 120, "all is decided")
                        assert_stored(place.database, crowd.requests, since)
                assert set(crowd.statuses) <= {0, 204, 503}
                assert crowd.slowest_seconds < 30
            assert place.up.stop() == 0
        finally:
            kill_all(processes_of(directory))
    with capsys.disabled():
        print(f"\nrestarts under load, seed {SEED}, {ROUNDS} rounds; seconds, median and worst:")
        for name, found in timings.items():
            columns = zip(Timing._fields, zip(*found, strict=True), strict=True)
            told = [f"{what} {median(each):.2f} {max(each):.2f}" for what, each in columns]
            print(f"  {name}: {', '.join(told)}")


def _measure(place: Place, crowd: Crowd, strike: Callable[[Place], float]) -> Timing:
    """Strike, and wait for what comes back."""
    before = place.written()
    pid = place.up.child("ingest").pid
    began = strike(place)
    acknowledged = crowd.acknowledged

    def since(condition: Callable[[], bool], what: str) -> float:
        wait_until(condition, 120, what)
        return time.monotonic() - began

    listens = since(place.listens, "it listens")
    acknowledges = since(lambda: crowd.acknowledged > acknowledged, "it acknowledges")
    answers = since(place.database_answers, "the database takes connections")
    goal = before if _pid_of_write_side(place) == pid else 0
    commits = since(lambda: place.written() > goal, "it commits")
    return Timing(listens, acknowledges, commits - answers)


def _pid_of_write_side(place: Place) -> int:
    wait_until(lambda: get(f"http://{place.write}/-/healthy")[0] == 200, 60, "a write side")
    return place.up.child("ingest").pid


def _is_ready(place: Place) -> bool:
    return all(get(f"http://{side}/-/ready")[0] == 200 for side in (place.write, place.read))


def _again(place: Place, number: signal.Signals) -> float:
    """End `up` and start another one; when that was started."""
    place.up.send(number)
    place.up.process.wait(60)
    began = time.monotonic()
    place.up = place.start()
    return began


def _end_child(place: Place, name: str, number: signal.Signals) -> float:
    began = time.monotonic()
    process = place.up.child(name)
    process.send_signal(number)
    process.wait(30)
    return began


def _end_database(place: Place, number: signal.Signals) -> float:
    began = time.monotonic()
    place.up.postmaster().send_signal(number)
    return began


FAULTS: dict[str, Callable[[Place], float]] = {
    "kill -9 up": lambda place: _again(place, signal.SIGKILL),
    "SIGTERM up": lambda place: _again(place, signal.SIGTERM),
    "kill -9 ingest": lambda place: _end_child(place, "ingest", signal.SIGKILL),
    "SIGTERM ingest": lambda place: _end_child(place, "ingest", signal.SIGTERM),
    "kill -9 database": lambda place: _end_database(place, signal.SIGKILL),
    "SIGINT database": lambda place: _end_database(place, signal.SIGINT),
}


async def _answers(url: str) -> bool:
    connection = await asyncpg.connect(url, timeout=5)
    await connection.close()
    return True
