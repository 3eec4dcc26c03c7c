"""This checkout beside another one of the same house, both running at once, asked in turns.

`BENCH_BASELINE` names the other checkout, of which `make` has made the environment (`git worktree
add … REVISION`, then `make .venv/.installed-test` in it). Ratios are this one's figure to the
other's, of neighbours in time: above 1 is faster here; where a figure is a time, processor time or
memory (their names say so), above 1 is more here.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import numpy as np

from ingest.load.requests import RequestTemplate
from ingest.load.sender import HEADERS, Load, Senders
from tests.bench.late import late_start_ms, until_packed
from tests.support import processes
from tests.support.remote_write import send
from tests.support.stack import Stack, running_stack

REPETITIONS = int(os.environ.get("BENCH_REPETITIONS", "6"))
SECONDS = float(os.environ.get("BENCH_INGEST_SECONDS", "3"))
SERIES = 16_000
NEW_SERIES = 20_000
KINDS = os.environ.get("BENCH_BASELINE_KINDS", "").split()
"""Which are measured; none: all."""
READERS = 50
READS = 2000
START_SECONDS, REST_SECONDS = 20, 20
"""A stack is at rest so long after its start, and is then looked at: what it repeats, it repeats
after 20 s at the latest, but for housekeeping."""
LONE_REQUESTS, LONE_SAMPLES, LONE_PAUSE_SECONDS = 250, 100, 0.05
CALL = "get_excluded_addresses"

Measure = Callable[[Stack], Awaitable[float]]
"""How many of something a second."""


def run() -> dict[str, float]:
    """This checkout beside the baseline; nothing without one."""
    path = os.environ.get("BENCH_BASELINE")
    if not path:
        print("baseline: skipped, BENCH_BASELINE names no checkout to compare with")
        return {}
    baseline = Path(path).absolute()
    with running_stack() as ours, running_stack(baseline / ".venv/bin/promgres") as theirs:
        figures = asyncio.run(_stacks(ours, theirs))
    return figures | (_decoding(baseline) if _is_wanted("decode") else {})


def _is_wanted(kind: str) -> bool:
    return not KINDS or kind in KINDS


async def _stacks(ours: Stack, theirs: Stack) -> dict[str, float]:
    closed_ms = late_start_ms(is_closed=True)
    kinds: dict[str, Measure] = {
        "ingest_known": _sending(senders=8),
        "ingest_one_sender": _sending(senders=1),
        "ingest_v2": _sending(senders=8, protocol=2),
        "ingest_small_requests": _sending(senders=8, samples_per_request=100),
        "ingest_late": _sending(senders=8, start_ms=closed_ms, metric="late"),
        "ingest_late_open": _sending(
            senders=8, start_ms=late_start_ms(is_closed=False), metric="late_open"
        ),
        "new_series": _new_series(),
        "rpc": _asking,
    }
    kinds = {kind: measure for kind, measure in kinds.items() if _is_wanted(kind)}
    rates: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    figures = await _at_rest(ours, theirs) if _is_wanted("rest") else {}
    for stack in (ours, theirs):
        for protocol in (1, 2):  # each series is sent twice, and is known from then on
            meet = Load(stack.write_url, series=SERIES, rounds=2, senders=8, duration_seconds=60)
            meet.protocol = protocol
            await Senders(meet).run()
    if _is_wanted("rest"):
        figures |= _memory("known", ours, theirs)
    if _is_wanted("lone_request"):
        figures |= await _lone_requests(ours, theirs)
    if "ingest_late" in kinds:
        for stack in (ours, theirs):
            assert send(stack.write_url, RequestTemplate(0, 1, "old").body(closed_ms)).status == 204
        connection = await asyncpg.connect(ours.database_url)
        await until_packed(connection, closed_ms)
        await connection.close()
    for repetition in range(REPETITIONS):
        for kind, measure in kinds.items():
            pair = [ours, theirs] if repetition % 2 else [theirs, ours]
            measured = {id(stack): await measure(stack) for stack in pair}
            rates[kind].append((measured[id(ours)], measured[id(theirs)]))
    return figures | {
        f"{kind}_to_baseline_ratio": statistics.median(mine / other for mine, other in pairs)
        for kind, pairs in rates.items()
    }


async def _at_rest(ours: Stack, theirs: Stack) -> dict[str, float]:
    """Processor time of both while nobody asks them anything, and the write side's memory then."""
    await asyncio.sleep(START_SECONDS)
    before = _cpu_seconds(ours), _cpu_seconds(theirs)
    await asyncio.sleep(REST_SECONDS)
    after = _cpu_seconds(ours), _cpu_seconds(theirs)
    figures = _memory("new", ours, theirs)
    for part in after[0]:
        mine, other = (then[part] - now[part] for now, then in zip(before, after, strict=True))
        name = f"idle_{part}_cpu_ms_per_second"
        figures |= _beside(name, mine * 1e3 / REST_SECONDS, other * 1e3 / REST_SECONDS)
    return figures


def _cpu_seconds(stack: Stack) -> dict[str, float]:
    """What each part of a stack has taken so far. Threads of what lives are counted in nanoseconds,
    since ticks (10 ms) are as much as some of them take in all; what has ended, in ticks."""
    pid = stack.program.pid
    postmaster = processes.child(pid, "postgres", "-D")
    used = dict.fromkeys(("daemon", "postgres", "read_side_and_up"), 0.0)
    ended = postmaster.cpu_times()
    used["postgres"] += ended.children_user + ended.children_system
    servers = {each.pid for each in processes.descendants(postmaster.pid)} | {postmaster.pid}
    daemon = processes.child(pid, "promgres ingest").pid
    for each in [pid, *(each.pid for each in processes.descendants(pid))]:
        part = "postgres" if each in servers else "daemon" if each == daemon else "read_side_and_up"
        for thread in Path(f"/proc/{each}/task").glob("*/schedstat"):
            with suppress(OSError):  # it ends
                used[part] += int(thread.read_text().split()[0]) / 1e9
    return used | {"all": sum(used.values())}


def _memory(when: str, ours: Stack, theirs: Stack) -> dict[str, float]:
    """Of the write side: all, and what it does not share with others."""
    daemons = [processes.child(stack.program.pid, "promgres ingest") for stack in (ours, theirs)]
    mine, other = (each.memory_full_info() for each in daemons)
    return _beside(f"{when}_daemon_rss_mib", mine.rss / 2**20, other.rss / 2**20) | _beside(
        f"{when}_daemon_uss_mib", mine.uss / 2**20, other.uss / 2**20
    )


async def _lone_requests(ours: Stack, theirs: Stack) -> dict[str, float]:
    """Requests of one sender, now to this one and then to that one, each with a pause before it."""
    took: dict[str, list[float]] = {ours.write_url: [], theirs.write_url: []}
    template = RequestTemplate(0, LONE_SAMPLES, "lone_request")
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        for number in range(LONE_REQUESTS):
            for url in list(took)[:: 1 if number % 2 else -1]:
                await asyncio.sleep(LONE_PAUSE_SECONDS)
                body = template.body(time.time_ns() // 1_000_000)
                started = time.perf_counter()
                async with session.post(url, data=body) as answer:
                    assert answer.status == 204, await answer.text()
                took[url].append((time.perf_counter() - started) * 1e3)
    mine, other = (
        [statistics.median(each), float(np.percentile(each, 99))] for each in took.values()
    )
    return _beside("lone_request_of_100_median_ms", mine[0], other[0]) | _beside(
        "lone_request_of_100_p99_ms", mine[1], other[1]
    )


def _beside(name: str, mine: float, other: float) -> dict[str, float]:
    return {name: mine, f"baseline_{name}": other, f"{name}_to_baseline_ratio": mine / other}


def _sending(
    senders: int,
    protocol: int = 1,
    samples_per_request: int = 2000,
    start_ms: int | None = None,
    metric: str = "promgres_load",
) -> Measure:
    begun: dict[int, int] = {}

    async def measure(stack: Stack) -> float:
        load = Load(
            stack.write_url,
            series=SERIES,
            duration_seconds=SECONDS,
            senders=senders,
            samples_per_request=samples_per_request,
            metric=metric,
        )
        load.protocol = 2 if protocol == 2 else 1
        if start_ms is not None:  # a second a round, and never the same one twice
            load.start_ms, load.step_ms = begun.get(id(stack), start_ms), 1000
        report = await Senders(load).run()
        assert report.acknowledged == report.sent, report.last_error
        if load.start_ms is not None:
            rounds = report.acknowledged.samples // SERIES + 2
            begun[id(stack)] = load.start_ms + rounds * 1000
        return report.rate

    return measure


def _new_series() -> Measure:
    runs: dict[int, int] = {}

    async def measure(stack: Stack) -> float:
        runs[id(stack)] = runs.get(id(stack), 0) + 1
        metric = f"new_series_{runs[id(stack)]}"
        now_ms = time.time_ns() // 1_000_000
        starts = range(0, NEW_SERIES, 2000)
        bodies = [RequestTemplate(first, 2000, metric).body(now_ms) for first in starts]
        started = time.perf_counter()
        answers = await asyncio.gather(
            *[asyncio.to_thread(send, stack.write_url, body) for body in bodies]
        )
        assert {answer.status for answer in answers} == {204}, answers[0]
        return NEW_SERIES / (time.perf_counter() - started)

    return measure


async def _asking(stack: Stack) -> float:
    """A trivial function, by 50 clients."""
    parts = urlsplit(stack.read_url)
    url = f"{parts.scheme}://{parts.netloc}/rpc/{CALL}"
    left = READS

    async def ask(session: aiohttp.ClientSession) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            async with session.get(url) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=READERS)) as session:
        started = time.perf_counter()
        await asyncio.gather(*[ask(session) for _ in range(READERS)])
        return READS / (time.perf_counter() - started)


def _decoding(baseline: Path) -> dict[str, float]:
    here = Path(__file__).parents[2]
    pairs = [(_decode(Path(sys.executable), here), _decode(baseline / ".venv/bin/python", baseline))
             for _ in range(3)]  # fmt: skip
    return {
        f"{name.removesuffix('_per_second')}_to_baseline_ratio": statistics.median(
            mine[name] / other[name] for mine, other in pairs
        )
        for name in pairs[0][0]
        if name.endswith("_per_second") and name in pairs[0][1]
    }


def _decode(python: Path, checkout: Path) -> dict[str, float]:
    # Memory is kept as the daemon keeps it: otherwise it depends on what was freed before whether
    # numpy's arrays are faulted in again each time, by which 2.0 varies by a third.
    program = (
        "import json; from ingest.heap import keep_freed_memory; keep_freed_memory(); "
        "from tests.bench import decode; print(json.dumps(decode._rates()))"
    )
    done = subprocess.run(
        [python, "-c", program], cwd=checkout, check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
