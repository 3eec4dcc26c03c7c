"""Hours of churn in a minute: a tenth of the series is replaced each hour, retention drops what is
old, and nothing grows for ever: series, caches, memory, disk.

An hour is one round: a sample of each series that is alive, in a day's partition of its own. Then
retention drops the partitions that are older than `KEPT_HOURS`, and the write side removes what is
empty. `BENCH_CHURN_SECONDS` (60) says for how long, `BENCH_CHURN_SERIES` (10,000) how many live.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from typing import NamedTuple
from urllib.request import urlopen

import asyncpg
import psutil

from ingest.load.requests import RequestTemplate
from tests.support.processes import child
from tests.support.remote_write import send
from tests.support.stack import Stack, running_stack

SECONDS = float(os.environ.get("BENCH_CHURN_SECONDS", "60"))
ALIVE = int(os.environ.get("BENCH_CHURN_SERIES", "10000"))
REPLACED = ALIVE // 10
KEPT_HOURS = 5
AGE_SECONDS = 2.0
LONGEST_HOURS = 300
DAY_MS = 86_400_000

PARTITIONS = """
    SELECT inhrelid::regclass::text FROM pg_inherits
    WHERE inhparent IN ('internal.hot'::regclass, 'internal.late'::regclass)
        AND substring(inhrelid::regclass::text FROM '[0-9]{8}$') < $1
"""
NOBODYS = """
    SELECT count(*) FROM internal.hot x
    WHERE NOT EXISTS (SELECT FROM internal.series s WHERE s.series_id = x.series_id)
"""
STATE = """
    SELECT (SELECT count(*) FROM internal.series), pg_total_relation_size('internal.series'),
        pg_database_size(current_database())
"""


class State(NamedTuple):
    """At the end of an hour."""

    series: int
    series_bytes: int
    database_bytes: int
    cached: float
    daemon_bytes: int


def run() -> dict[str, float]:
    """How much more there is of each in the last third than in the one before."""
    age = {"PROMGRES_WRITER__REMOVE_SERIES_AGE_SECONDS": str(AGE_SECONDS)}
    with running_stack(**age) as stack:
        return asyncio.run(_churn(stack))


async def _churn(stack: Stack) -> dict[str, float]:
    connection = await asyncpg.connect(stack.database_url)
    try:
        states = await _hours(stack, connection)
        nobodys = await connection.fetchval(NOBODYS)
    finally:
        await connection.close()
    third = len(states) // 3
    before, last = states[-2 * third : -third], states[-third:]
    growth = {
        f"churn_{name}_growth_ratio": statistics.mean(getattr(state, name) for state in last)
        / statistics.mean(getattr(state, name) for state in before)
        for name in State._fields
    }
    return {
        "churn_hours": len(states),
        "churn_series_created": ALIVE + REPLACED * (len(states) - 1),
        "churn_series_left": states[-1].series,
        "churn_series_at_least": ALIVE + REPLACED * KEPT_HOURS,
        "churn_samples_of_nobody": nobodys,
        **growth,
    }


async def _hours(stack: Stack, connection: asyncpg.Connection) -> list[State]:
    states: list[State] = []
    first_ms = (time.time_ns() // 1_000_000 // DAY_MS - LONGEST_HOURS) * DAY_MS
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and len(states) < LONGEST_HOURS:
        hour = len(states)
        await _send(stack, hour * REPLACED, first_ms + hour * DAY_MS)
        oldest = time.gmtime((first_ms + (hour - KEPT_HOURS) * DAY_MS) / 1000)
        for name in await connection.fetch(PARTITIONS, time.strftime("%Y%m%d", oldest)):
            await connection.execute(f"DROP TABLE {name[0]}")
        await connection.execute("VACUUM internal.series")  # as autovacuum does within an hour
        states.append(await _state(stack, connection))
    return states


async def _send(stack: Stack, first: int, at_ms: int) -> None:
    """A sample of each series that is alive: those from this number on."""
    bodies = [
        RequestTemplate(number, 1000, "churn").body(at_ms)
        for number in range(first, first + ALIVE, 1000)
    ]
    for body in bodies:
        answer = await asyncio.to_thread(send, stack.write_url, body)
        while answer.status == 503:  # as senders do
            await asyncio.sleep(0.1)
            answer = await asyncio.to_thread(send, stack.write_url, body)
        assert answer.status == 204, answer


async def _state(stack: Stack, connection: asyncpg.Connection) -> State:
    text = await asyncio.to_thread(_metrics, stack.write_url)
    cached = re.search(r"^promgres_series_cached (\S+)", text, re.MULTILINE)
    assert cached is not None, "no such metric"
    daemon = psutil.Process(child(stack.program.pid, "bin/promgres ingest").pid)
    row = await connection.fetchrow(STATE)
    return State(*row, float(cached.group(1)), daemon.memory_info().rss)


def _metrics(write_url: str) -> str:
    with urlopen(write_url.rpartition("/write")[0] + "/metrics") as answer:
        text: str = answer.read().decode()
    return text
