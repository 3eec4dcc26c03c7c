"""An attack on a running `promgres up`, with a neighbour who writes and must not notice."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.support.databases import Database, blocking, connect
from tests.support.keys import bearer, create_key, create_tenant
from tests.support.messages import payload, series
from tests.support.metrics import Metrics
from tests.support.processes import command, descendants, wait_until
from tests.support.remote_write import HEADERS, send, snappy
from tests.support.stack import Stack, running_stack

LONG_SECONDS = float(os.environ.get("PROMGRES_ATTACK_SECONDS", "0"))
"""How long each attack goes on, and the calm before; 0 is the short form, which has no figures."""
MOST_BYTES = 600 * 1024 * 1024
"""Resident memory of the write side and of the read side."""
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.02
ANSWERS_MEANWHILE = 3
CALM_P99_SECONDS, TIMES_CALM = 1.0, 10
"""The neighbour's p99 under attack: below the first, or so many times its own without attack."""
LONGEST_BLOCK_SECONDS = 2.0
"""Of the write side's loop, on a machine that the attacker uses as well."""
WRITES = frozenset({200, 201, 204, *range(400, 429), *range(430, 500), 503})
"""What a write may hear: 429 would have Prometheus drop it."""
_names = count(1)


class Answered(NamedTuple):
    """One write of the neighbour; times by the monotonic clock."""

    timestamp_ms: int
    status: int
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class Neighbour:
    """Another tenant, that writes a sample at a time, one after the other, for as long as it is
    told to. Every one has a timestamp of its own."""

    def __init__(self, url: str, key: str) -> None:
        self.metric = f"neighbour_{next(_names)}"
        self.answers: list[Answered] = []
        self._url = url
        self._headers = HEADERS | bearer(key)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Neighbour:
        self._thread.start()
        wait_until(lambda: self.answers, PATIENCE_SECONDS, "the neighbour's first answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the neighbour still waits for its answer"

    @property
    def acknowledged_ms(self) -> list[int]:
        """Timestamps of what it was told is safe."""
        return sorted(one.timestamp_ms for one in self.answers if one.status == 204)

    def within(self, began: float, ended: float) -> list[Answered]:
        """Its writes that were answered in this time, from their beginning to their end."""
        return [one for one in self.answers if began <= one.began and one.ended <= ended]

    def _write(self) -> None:
        last_ms = 0
        while not self._is_over.is_set():
            last_ms = max(last_ms + 1, time.time_ns() // 1_000_000)
            body = snappy(payload(series({"name": self.metric}, (last_ms, 1.0))))
            began = time.monotonic()
            try:
                status = send(self._url, body, self._headers, seconds=PATIENCE_SECONDS).status
            except OSError:
                status = 0
            self.answers.append(Answered(last_ms, status, began, time.monotonic()))
            self._is_over.wait(PAUSE_SECONDS)


@dataclass(frozen=True)
class Siege:
    """A running `promgres up` with default settings, an attacker and a neighbour.

    Attributes:
        attacker, neighbour: keys of two tenants.
        database: its embedded database, as its superuser.
    """

    stack: Stack
    attacker: str
    neighbour: str
    database: Database

    @property
    def write_url(self) -> str:
        """The endpoint of remote write."""
        return self.stack.write_url

    @property
    def push_url(self) -> str:
        """Without the last word: `measure` or `event`."""
        return self.stack.write_url.removesuffix("/write") + "/api/v1/"

    @property
    def read_url(self) -> str:
        """`…/rpc/`."""
        return self.stack.read_url

    @property
    def address(self) -> str:
        """Of the write side."""
        return self.stack.write_url.removeprefix("http://").split("/")[0]

    @property
    def metrics(self) -> Metrics:
        """What the write side says of itself."""
        return Metrics(self.address)

    def child(self, side: str) -> psutil.Process:
        """The process of `promgres ingest` or `promgres api`."""
        found = [
            each
            for each in descendants(self.stack.program.pid)
            if f"/promgres {side} " in f"{command(each)} "
        ]
        assert found, side
        return found[0]

    def resist(
        self,
        attack: Callable[[], Iterable[int]],
        allowed: Collection[int] = WRITES,
        begin: Callable[[], object] = lambda: None,
    ) -> Report:
        """Attack while the neighbour writes, and hold the stack to what it promises: statuses,
        memory, nothing acknowledged lost, and the neighbour answered meanwhile.

        Args:
            attack: one round; the statuses that it heard. It is repeated until the neighbour was
                answered a few times meanwhile, in the long form for `LONG_SECONDS`.
            allowed: what the attacker may hear.
            begin: what goes before the first round, and after the calm.
        """
        sides = [self.child("ingest"), self.child("api")]
        for side in sides:
            forget_peak(side.pid)
        report = Report()
        with Neighbour(self.write_url, self.neighbour) as neighbour:
            if LONG_SECONDS:
                threading.Event().wait(LONG_SECONDS)
            begin()
            report.began = time.monotonic()
            while not report.rounds or not self._is_enough(neighbour, report):
                report.statuses.update(attack())
                report.rounds += 1
                report.ended = time.monotonic()
        report.block_seconds = self.metrics.value("promgres_event_loop_block_seconds")
        report.calm = [one for one in neighbour.answers if one.ended < report.began]
        report.meanwhile = neighbour.within(report.began, report.ended)
        for side in sides:
            assert side.is_running(), "it died, or was started again"
            report.peak_bytes[side.name()] = peak_bytes(side.pid)
            assert peak_bytes(side.pid) < MOST_BYTES, f"{side.cmdline()}: {report}"
        assert set(report.statuses) <= set(allowed), report
        assert {one.status for one in neighbour.answers} <= {204, 503}, report
        assert any(one.status == 204 for one in report.meanwhile), report
        self.assert_stored(neighbour.metric, neighbour.acknowledged_ms)
        if LONG_SECONDS:
            report.assert_quick()
        return report

    def assert_stored(self, metric: str, acknowledged_ms: Sequence[int]) -> None:
        """What of a metric was acknowledged is in the database, once the spool is empty."""
        at_rest = "nothing is in flight or spooled"
        wait_until(lambda: self.metrics.value("promgres_spool_requests") == 0, 120, at_rest)
        stored = set(blocking(_stored_ms(self.database, metric)))
        missing = [each for each in acknowledged_ms if each not in stored]
        assert not missing, f"{len(missing)} of {len(acknowledged_ms)} are lost, from {missing[0]}"

    def _is_enough(self, neighbour: Neighbour, report: Report) -> bool:
        answered = neighbour.within(report.began, report.ended)
        too_long = time.monotonic() > report.began + PATIENCE_SECONDS + LONG_SECONDS
        if time.monotonic() < report.began + LONG_SECONDS:
            return False
        return too_long or sum(one.status == 204 for one in answered) >= ANSWERS_MEANWHILE


@dataclass
class Report:
    """What came of an attack.

    Attributes:
        statuses: what the attacker heard.
        meanwhile, calm: answers to the neighbour during the attack, and before.
        peak_bytes: resident memory by process.
        block_seconds: for which the write side's loop stood still at most.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    rounds: int = 0
    began: float = 0.0
    ended: float = 0.0
    meanwhile: list[Answered] = field(default_factory=list)
    calm: list[Answered] = field(default_factory=list)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    block_seconds: float = 0.0

    def __str__(self) -> str:
        mib = {name: f"{size >> 20} MiB" for name, size in self.peak_bytes.items()}
        heard = Counter(one.status for one in self.meanwhile)
        return (
            f"{self.rounds} rounds in {self.ended - self.began:.1f} s, heard {dict(self.statuses)};"
            f" neighbour heard {dict(heard)}, p99 {p99(self.meanwhile):.3f} s,"
            f" calm {p99(self.calm):.3f} s; peak {mib},"
            f" longest block of the loop {self.block_seconds:.3f} s"
        )

    def assert_quick(self) -> None:
        """The neighbour's p99 is what it is promised."""
        print(self)
        assert self.block_seconds < LONGEST_BLOCK_SECONDS, self
        assert p99(self.meanwhile) < max(CALM_P99_SECONDS, TIMES_CALM * p99(self.calm)), self


def p99(answers: Sequence[Answered]) -> float:
    """Seconds that one in a hundred takes longer than; 0 of none."""
    seconds = sorted(one.seconds for one in answers)
    return seconds[math.ceil(0.99 * len(seconds)) - 1] if seconds else 0.0


def at_once(ask: Callable[[], int], times: int) -> list[int]:
    """Statuses of so many requests at the same time."""
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda _: ask(), range(times)))


def peak_bytes(pid: int) -> int:
    """The most memory that a process had resident since `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def forget_peak(pid: int) -> None:
    """Have the kernel begin anew with what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextmanager
def besieged(**environment: str) -> Iterator[Siege]:
    """A running stack and its two tenants; without `environment`, all settings are the defaults."""
    with running_stack(**environment) as stack:
        database = Database(stack.database_url, "postgres")
        keys = []
        for tenant in ("attacker", "neighbour"):
            blocking(create_tenant(database, tenant))
            keys.append(blocking(create_key(database, tenant)))
        siege = Siege(stack, *keys, database)
        for key in keys:  # known to both sides from here on
            wait_until(lambda key=key: _is_known(siege, key), what="the key is known")  # type: ignore[misc]
        yield siege


def _is_known(siege: Siege, key: str) -> bool:
    return send(siege.write_url, snappy(b""), HEADERS | bearer(key)).status == 204


async def _stored_ms(database: Database, metric: str) -> list[int]:
    async with connect(database) as connection:
        rows = await connection.fetch(
            "SELECT (extract(epoch FROM time) * 1000)::bigint AS at FROM internal.sample"
            " JOIN internal.series USING (series_id) WHERE name = $1",
            metric,
        )
    return [row["at"] for row in rows]
