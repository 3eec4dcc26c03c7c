"""The same requests into Prometheus' own receiver, ours, and a raw COPY, in turns.

`BENCH_PROMETHEUS` names Prometheus' program (3 speaks remote write 2.0; unset: the one on the
path). Requests are made beforehand, so that a sender costs little more than its sockets. Ratios are
of neighbours in time. CPU is of all processes of each side while requests are under way: rollups of
current minutes, which the worker stores a minute later, are in whichever shape meets them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import aiohttp
import asyncpg
import psutil
import snappy

from ingest.load.requests import RequestTemplate
from ingest.load.sender import HEADERS, HEADERS_V2
from ingest.load.shapes import ProtocolVersion
from tests.bench import raw
from tests.bench.late import late_start_ms, until_packed
from tests.support import processes
from tests.support.prometheus_receiver import prometheus_receiver
from tests.support.stack import running_stack

REPETITIONS = int(os.environ.get("BENCH_REPETITIONS", "4"))
SIZE = float(os.environ.get("BENCH_PROMETHEUS_SIZE", "1"))
"""Of each run, 1 being a second or so of a quiet machine."""
RAW_COPIES, RAW_ROUNDS = 5, 3
SENDERS = 8
SERIES = 16_000
PIECE = 50
"""Of 2,000 series of a request, those that churn replaces in a round: 2.5 %."""
CONFIG = """\
scrape_configs: []
storage: {tsdb: {out_of_order_time_window: 8h}}
"""

Bodies = list[list[bytes]]
"""What each sender sends, one after the other."""


@dataclass
class Shape:
    """Requests of a kind.

    Attributes:
        rounds: samples of each series in a run.
        late: where samples belong that are three hours old, each series a second after the round
            before: "closed", a partition that is packed, or "open", one that takes rows. A closed
            one may have ended earlier, hence Prometheus' window of eight hours; see `late.py`.
        churn: whether 2.5 % of the series of each request are new in each round.
        pair: whether everything is sent twice, at once, each sender having a twin.
    """

    name: str
    target: float
    rounds: float
    samples_per_request: int = 2000
    senders: int = SENDERS
    series: int = SERIES
    protocol: ProtocolVersion = 1
    late: Literal["", "closed", "open"] = ""
    churn: bool = False
    pair: bool = False
    next_ms: int = 0
    runs: int = 0
    templates: list[RequestTemplate] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Samples of a run, as they are sent."""
        return self._rounds * self.series * (2 if self.pair else 1)

    @property
    def requests(self) -> int:
        """Requests of a run."""
        return self.samples // self.samples_per_request

    @property
    def _rounds(self) -> int:
        return max(1, round(self.rounds * SIZE))

    def meet(self) -> Bodies:
        """What makes all series known that are not to be new."""
        if self.churn:
            return self._churning(1)
        starts = range(0, self.series, self.samples_per_request)
        self.templates = [
            RequestTemplate(at, self.samples_per_request, self.name, protocol=self.protocol)
            for at in starts
        ]
        return self._known(2)

    def bodies(self) -> Bodies:
        """What a run sends, later than the run before."""
        bodies = (self._churning if self.churn else self._known)(self._rounds)
        return bodies * 2 if self.pair else bodies

    def _known(self, rounds: int) -> Bodies:
        times = self._times(rounds)
        shares = [self.templates[at :: self.senders] for at in range(self.senders)]
        return [[each.body(ms) for ms in times for each in share] for share in shares]

    def _churning(self, rounds: int) -> Bodies:
        """Each sender's request is a window over its series, which moves on by a piece a round."""
        share = self.series // self.senders
        times = self._times(rounds)
        first, self.runs = self.runs, self.runs + rounds
        shares: Bodies = []
        for sender in range(self.senders):
            start = sender * 1_000_000 + first * PIECE
            pieces = [
                RequestTemplate(start + at, PIECE, self.name)
                for at in range(0, share + rounds * PIECE, PIECE)
            ]
            width = share // PIECE
            windows = [pieces[number : number + width] for number in range(rounds)]
            shares.append(
                [
                    bytes(snappy.compress(b"".join([each.payload(ms) for each in window])))
                    for ms, window in zip(times, windows, strict=True)
                ]
            )
        return shares

    def _times(self, rounds: int) -> range:
        step_ms = 1000 if self.late else 1
        if not self.late:
            self.next_ms = time.time_ns() // 1_000_000
        elif not self.next_ms:
            self.next_ms = late_start_ms(is_closed=self.late == "closed")
        times = range(self.next_ms, self.next_ms + rounds * step_ms, step_ms)
        self.next_ms = times.stop
        return times


def shapes() -> list[Shape]:
    """All that can be measured."""
    return [
        Shape("current_2000", 1.1, 16),
        Shape("current_10000", 1.1, 4, samples_per_request=10_000, series=80_000),
        Shape("late_2000", 1.1, 16, late="closed"),
        Shape("late_10000", 1.1, 4, samples_per_request=10_000, series=80_000, late="closed"),
        Shape("late_open_2000", 1.1, 16, late="open"),
        Shape("small_8_senders", 0.6, 8, samples_per_request=100),
        Shape("small_1_sender", 0.5, 3, samples_per_request=100, senders=1),
        Shape("v2_2000", 0.9, 16, protocol=2),
        Shape("churn", 0.9, 12, churn=True),
        Shape("pair", 0.9, 8, senders=SENDERS // 2, pair=True),
    ]


TARGETS = {f"receiver_{each.name}_to_prometheus_ratio": f">= {each.target}" for each in shapes()}
TARGETS["receiver_pair_to_none_ratio"] = TARGETS.pop("receiver_pair_to_prometheus_ratio")
TARGETS["receiver_small_8_senders_daemon_cpu_ms_per_request"] = "<= 0.6"


class Used(NamedTuple):
    """What a run took: seconds, and of processor time by process."""

    seconds: float
    cpu_seconds: dict[str, float]


@dataclass
class Receiver:
    """Whom requests are sent to, and the processes whose work that is."""

    url: str
    processes: dict[str, psutil.Process]

    def cpu_seconds(self) -> dict[str, float]:
        """Of each process and its children, those that ended too."""
        used = {}
        for name, root in self.processes.items():
            ended = root.cpu_times()
            used[name] = ended.children_user + ended.children_system
            for each in [root, *processes.descendants(root.pid)]:
                times = each.cpu_times()
                used[name] += times.user + times.system
        return used

    async def take(self, shape: Shape, bodies: Bodies) -> Used:
        """Send it, a sender a share."""
        before, started = self.cpu_seconds(), time.perf_counter()
        timeout = aiohttp.ClientTimeout(total=60)
        connector = aiohttp.TCPConnector(limit=2 * SENDERS)
        headers = HEADERS_V2 if shape.protocol == 2 else HEADERS
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session,
            asyncio.TaskGroup() as group,
        ):
            for share in bodies:
                group.create_task(self._send(session, share))
        seconds = time.perf_counter() - started
        after = self.cpu_seconds()
        return Used(seconds, {name: after[name] - before[name] for name in before})

    async def _send(self, session: aiohttp.ClientSession, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            async with session.post(self.url, data=body) as answer:
                assert answer.status < 300, await answer.text()


def run() -> dict[str, float]:
    """Ratios and processor time; without a Prometheus only what is ours."""
    program = os.environ.get("BENCH_PROMETHEUS") or shutil.which("prometheus")
    names = os.environ.get("BENCH_PROMETHEUS_SHAPES", "").split()
    measured = [each for each in shapes() if not names or each.name in names]
    with ExitStack() as stack:
        ours = stack.enter_context(running_stack())
        pid = ours.program.pid
        receivers = {
            "ours": Receiver(
                ours.write_url,
                {
                    "daemon": processes.child(pid, "promgres ingest"),
                    "postgres": processes.child(pid, "postgres", "-D"),
                },
            )
        }
        if program:
            if "version 2." in processes.run(program, "--version").stdout:
                measured = [each for each in measured if each.protocol == 1]
            url = stack.enter_context(prometheus_receiver(program, config=CONFIG))
            process = processes.child(os.getpid(), "--web.enable-remote-write-receiver")
            receivers["theirs"] = Receiver(url, {"prometheus": process})
        else:
            print("prometheus: there is none, and BENCH_PROMETHEUS names none: only ours")
        return asyncio.run(_measure(receivers, measured, ours.database_url))


async def _measure(
    receivers: dict[str, Receiver], measured: Sequence[Shape], database_url: str
) -> dict[str, float]:
    connection = await asyncpg.connect(database_url)
    await raw.create_table(connection)
    copies: list[tuple[float, float]] = []
    used: dict[str, dict[str, list[Used]]] = {
        each.name: {who: [] for who in receivers} for each in measured
    }
    for shape in measured:
        bodies = shape.meet()
        for receiver in receivers.values():
            await receiver.take(shape, bodies)
    for shape in measured:
        if shape.late == "closed":
            await until_packed(connection, shape.next_ms)
    for repetition in range(REPETITIONS):
        copies.append(await _raw_copy(connection))
        for shape in measured:
            bodies = shape.bodies()
            for who in list(receivers)[:: 1 if repetition % 2 else -1]:
                used[shape.name][who].append(await receivers[who].take(shape, bodies))
    await connection.close()
    rates, cpu_us = zip(*copies, strict=True)
    figures = {
        "receiver_raw_copy_rows_per_second": statistics.median(rates),
        "receiver_raw_copy_postgres_cpu_us_per_row": statistics.median(cpu_us),
    }
    for shape in measured:
        figures |= _figures(shape, used[shape.name], rates)
    if {"current_2000", "pair"} <= used.keys():
        none, pair = (
            [shape.samples / each.seconds for each in used[shape.name]["ours"]]
            for shape in (measured[0], measured[-1])
        )
        figures["receiver_pair_to_none_ratio"] = _ratio(pair, none)
    return figures


async def _raw_copy(connection: asyncpg.Connection) -> tuple[float, float]:
    """Rows a second, and microseconds of PostgreSQL's processor time a row."""
    backend = psutil.Process(connection.get_server_pid())
    before = sum(backend.cpu_times()[:2])
    now_ms = time.time_ns() // 1_000_000
    seconds = 0.0
    for number in range(RAW_COPIES):
        rows = raw.rows_of_rounds(SERIES, now_ms + number * RAW_ROUNDS, RAW_ROUNDS)
        seconds += await raw.copy_once(connection, rows)
    count = RAW_COPIES * RAW_ROUNDS * SERIES
    return count / seconds, (sum(backend.cpu_times()[:2]) - before) / count * 1e6


def _figures(
    shape: Shape, used: dict[str, list[Used]], raw_rates: Sequence[float]
) -> dict[str, float]:
    rates = {who: [shape.samples / each.seconds for each in runs] for who, runs in used.items()}
    figures = {"samples_per_second": statistics.median(rates["ours"])}
    if "theirs" in rates:
        figures["prometheus_samples_per_second"] = statistics.median(rates["theirs"])
        figures["to_prometheus_ratio"] = _ratio(rates["ours"], rates["theirs"])
    figures["to_raw_copy_ratio"] = _ratio(rates["ours"], raw_rates)
    for runs in used.values():
        for process in runs[0].cpu_seconds:
            seconds = statistics.median(each.cpu_seconds[process] for each in runs)
            figures[f"{process}_cpu_us_per_sample"] = seconds * 1e6 / shape.samples
            if process == "daemon" and shape.samples_per_request == 100:
                figures["daemon_cpu_ms_per_request"] = seconds * 1e3 / shape.requests
    return {f"receiver_{shape.name}_{name}": value for name, value in figures.items()}


def _ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))
