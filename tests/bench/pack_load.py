"""Packing, joining, merging of late rows, minutes, hours, retention and removal of series beside a
load, with time compressed: whether memory, disk, WAL and latencies stay flat, and for how long a
sender waits behind our locks, and whose.

Not part of `make bench` by itself: `python -m tests.bench pack_load`, for BENCH_PACK_LOAD_SECONDS.
Two senders of a thousand series each go through days of the past, five minutes a round, a hundred
of the series under new names each day; a third sends late samples of the days before, some of them
twice. Three days are kept. What the worker does by the clock is asked of the same functions by the
time that the senders have reached; minutes, hours and what is empty its own write side sees to.
Halves of the time after the first three days are compared. Each 20 ms it is looked who waits for a
lock: of our senders and of who holds them up, the longest of each pair is printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple

import asyncpg
import psutil

from ingest.load.requests import RequestTemplate
from tests.support.blocks import switch_on, take_step
from tests.support.remote_write import send
from tests.support.stack import Stack, running_stack

SECONDS = float(os.environ.get("BENCH_PACK_LOAD_SECONDS", "600"))
SAMPLES_A_SECOND = float(os.environ.get("BENCH_PACK_LOAD_RATE", "20000"))
SERIES, SENDERS, DAILY_SERIES = 1000, 2, 100
ROUND = timedelta(minutes=5)
KEPT = timedelta(days=3)
BEGINS_DAYS_AGO = 40
LATE_EVERY_SECONDS = 0.5
STEPS = ("settle", "close", "pack", "join", "drop")
LATE = "SELECT internal.pack_late(p_least => 10000, p_quiet => '0')"
KEEP = """
UPDATE internal.setting SET value = ceil(extract(epoch FROM now() - $1::timestamptz) / 86400)::text
WHERE key = 'retention.internal_days'
"""
BACKGROUND = "rollup|pack|hours|minutes|partitions|close_hot|join_blocks|drop_|settle|doom|remove_"
"""In the text of what our worker asks, and the steps here; senders ask nothing like it."""
WAITS = """
SELECT extract(epoch FROM clock_timestamp() - l.waitstart)::float8 AS seconds,
    concat_ws(' ', l.locktype, l.mode, l.relation::regclass) AS lock,
    coalesce(h.query, 'nobody by now') AS holder, coalesce(h.is_ours, false) AS is_ours
FROM pg_locks AS l
JOIN pg_stat_activity AS a USING (pid)
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT left(b.query, 60), ' | ') AS query,
        bool_or(b.query ~ $1 OR b.backend_type <> 'client backend') AS is_ours
    FROM pg_stat_activity AS b WHERE b.pid = ANY (pg_blocking_pids(a.pid))
) AS h
WHERE NOT l.granted AND l.waitstart IS NOT NULL AND a.application_name <> ''
    AND (a.query !~ $1 OR a.query ~ 'ensure_partitions')
"""
STATE = "SELECT pg_database_size(current_database()), pg_current_wal_lsn() - '0/0'::pg_lsn"


class Moment(NamedTuple):
    """What was seen at one time; bytes, and samples sent until then."""

    at: float
    memory: float
    disk: float
    wal: float
    samples: int


@dataclass
class Run:
    """What all parts of it share."""

    until: float
    reached: datetime
    samples: int = 0
    took: list[tuple[float, float]] = field(default_factory=list)  # when, seconds of a request
    steps: dict[str, float] = field(default_factory=dict)  # the longest of each
    moments: list[Moment] = field(default_factory=list)
    waits: dict[tuple[bool, str, str], float] = field(default_factory=dict)
    """The longest, in seconds: whether of ours, which lock, who held it."""

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until


def run() -> dict[str, float]:
    """Ratios of the second half to the first, the longest wait, the longest step."""
    with running_stack(
        PROMGRES_RETENTION__INTERNAL_DAYS=str(BEGINS_DAYS_AGO + 1),
        PROMGRES_WRITER__REMOVE_SERIES_AGE_SECONDS="5",
    ) as stack:
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> dict[str, float]:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begins = midnight - timedelta(days=BEGINS_DAYS_AGO)
    no_name = {"application_name": ""}
    connections = [await asyncpg.connect(stack.database_url, server_settings=no_name)
                   for _ in range(3)]  # fmt: skip
    try:
        await switch_on(connections[0])
        state = Run(time.monotonic() + SECONDS, begins)
        await asyncio.gather(
            *[_send(stack, state, number, begins) for number in range(SENDERS)],
            _send_late(stack, state, begins), _pack(connections[0], state),
            _watch(connections[1], state), _look(connections[2], stack, state),
        )  # fmt: skip
        stored = await connections[0].fetchval("SELECT min(time) FROM internal.sample")
    finally:
        for each in connections:
            await each.close()
    assert stored >= state.reached - KEPT - timedelta(days=2), "retention did not keep up"
    return _figures(state, begins)


async def _send(stack: Stack, state: Run, number: int, begins: datetime) -> None:
    template = RequestTemplate(0, SERIES, f"load_{number}")
    round_, due = begins, time.monotonic()
    while state.goes_on and round_ < datetime.now(UTC) - timedelta(days=2):
        await _post(stack, state, template, round_)
        if number == 0:
            await _post(stack, state, _of_a_day(round_.date()), round_, DAILY_SERIES)
        round_ += ROUND
        state.reached = max(state.reached, round_)
        due = max(due + SERIES * SENDERS / SAMPLES_A_SECOND, time.monotonic() - 1)
        await asyncio.sleep(max(0, due - time.monotonic()))


@cache
def _of_a_day(day: date) -> RequestTemplate:
    return RequestTemplate(0, DAILY_SERIES, f"day_{day:%Y%m%d}")


async def _send_late(stack: Stack, state: Run, begins: datetime) -> None:
    template, chance = RequestTemplate(0, SERIES, "load_0"), random.Random(8)
    back = timedelta(0)
    while state.goes_on:
        if chance.randrange(4):
            back = chance.random() * min(timedelta(days=2), state.reached - begins)
        await _post(stack, state, template, state.reached - back)
        await asyncio.sleep(LATE_EVERY_SECONDS)


async def _post(
    stack: Stack, state: Run, template: RequestTemplate, at: datetime, count: int = SERIES
) -> None:
    body = template.body(int(at.timestamp() * 1000))
    began = time.monotonic()
    answer = await asyncio.to_thread(send, stack.write_url, body)
    assert answer.status == 204, answer
    state.took.append((began, time.monotonic() - began))
    state.samples += count


async def _pack(connection: asyncpg.Connection, state: Run) -> None:
    while state.goes_on:
        done = 0
        before = state.reached - timedelta(hours=1)
        for name in STEPS:
            began = time.monotonic()
            done += await take_step(connection, name, before if name == "close" else 500_000)
            state.steps[name] = max(state.steps.get(name, 0), time.monotonic() - began)
        for name, statement in (
            ("late", LATE), ("retention", "SELECT internal.drop_expired_partitions('internal')"),
        ):  # fmt: skip
            began = time.monotonic()
            with suppress(asyncpg.LockNotAvailableError):
                done += await connection.fetchval(statement)
            state.steps[name] = max(state.steps.get(name, 0), time.monotonic() - began)
        await connection.execute(KEEP, state.reached - KEPT)
        if not done:
            await asyncio.sleep(0.2)


async def _watch(connection: asyncpg.Connection, state: Run) -> None:
    while state.goes_on:
        for seconds, lock, holder, is_ours in await connection.fetch(WAITS, BACKGROUND):
            what = (is_ours, lock, holder)
            state.waits[what] = max(state.waits.get(what, 0), seconds)
        await asyncio.sleep(0.02)


async def _look(connection: asyncpg.Connection, stack: Stack, state: Run) -> None:
    processes = psutil.Process(stack.program.pid)
    while state.goes_on:
        memory = 0
        for each in processes.children(recursive=True):
            try:
                memory += each.memory_full_info().uss
            except psutil.Error:
                continue
        disk, wal = (await connection.fetch(STATE))[0]
        state.moments.append(
            Moment(time.monotonic(), memory, float(disk), float(wal), state.samples)
        )
        await asyncio.sleep(SECONDS / 200)


def _longest(state: Run, *, is_ours: bool) -> float:
    return max((wait for what, wait in state.waits.items() if what[0] == is_ours), default=0.0)


def _figures(state: Run, begins: datetime) -> dict[str, float]:
    """From when retention drops as much as comes in."""
    first = state.moments[0].at
    full = first + (state.moments[-1].at - first) * min(
        0.5, (KEPT + timedelta(days=1)) / max(state.reached - begins, timedelta(days=1))
    )
    moments = [moment for moment in state.moments if moment.at >= full]
    halves = moments[: len(moments) // 2], moments[len(moments) // 2 :]
    took = [
        sorted(seconds for at, seconds in state.took if half[0].at <= at <= half[-1].at)
        for half in halves
    ]
    ratios: dict[str, float] = {}
    for name in ("memory", "disk"):
        old, new = (statistics.median(getattr(moment, name) for moment in half) for half in halves)
        ratios[f"{name}_second_half_to_first_ratio"] = new / old
        ratios[f"{name}_mib"] = new / 2**20
    old, new = (
        (half[-1].wal - half[0].wal) / (half[-1].samples - half[0].samples) for half in halves
    )
    ratios |= {"wal_second_half_to_first_ratio": new / old, "wal_bytes_per_sample": new}
    old, new = (each[int(len(each) * 0.99)] for each in took)
    ratios |= {"p99_second_half_to_first_ratio": new / old, "p99_ms": new * 1000}
    ratios |= {
        "request_longest_ms": max(seconds for _, seconds in state.took) * 1000,
        "sender_longest_lock_wait_ms": _longest(state, is_ours=True) * 1000,
        "sender_longest_wait_for_senders_ms": _longest(state, is_ours=False) * 1000,
        "days_of_data": (state.reached - begins) / timedelta(days=1),
        "samples": state.samples,
        **{f"{name}_longest_step_ms": seconds * 1000 for name, seconds in state.steps.items()},
    }
    for (is_ours, *what), seconds in sorted(state.waits.items(), key=lambda item: -item[1])[:8]:
        whose = "our work" if is_ours else "senders"
        print(f"pack_load: {seconds * 1000:.0f} ms behind {whose}:", *what)
    return {f"pack_load_{name}": value for name, value in ratios.items()}
