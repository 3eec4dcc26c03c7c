"""Four hours of churn in a minute, or in a quarter of an hour: a tenth of the series is replaced
each hour, retention drops what is old, and nothing grows for ever: series, caches, memory, disk.

Every five minutes of it each series that is alive has a sample; half an hour is a day of
timestamps, so that its partitions can be dropped an hour later. Series may be removed when they are
an hour old, as by default. In the second hour the database is killed: what is sent meanwhile is
spooled.
`BENCH_CHURN_SECONDS` (60) says how long that takes, `BENCH_CHURN_SERIES` (10,000) how many live:
720 and 200,000 are what one wants to know, once.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple
from urllib.request import urlopen

import asyncpg
import psutil

from ingest.load.requests import RequestTemplate
from ingest.storage.pgerrors import CONNECTION_ERRORS
from tests.support.processes import child
from tests.support.remote_write import send
from tests.support.stack import Stack, running_stack

SECONDS = float(os.environ.get("BENCH_CHURN_SECONDS", "60"))
ALIVE = int(os.environ.get("BENCH_CHURN_SERIES", "10000"))
HOURS, ROUNDS_A_HALF_HOUR = 4, 6
HALF_HOURS = 2 * HOURS
KEPT_HALF_HOURS = 2
KILLED_IN = 3  # half hours before it
REQUESTS_A_ROUND = 10 * 2 * ROUNDS_A_HALF_HOUR
"""Each round the first of them is another one: a tenth in an hour."""
SERIES_A_REQUEST = ALIVE // REQUESTS_A_ROUND
DAY = timedelta(days=1)
AWAY_SECONDS = 300
MOST_GROWTH = 1.05

EXPIRED = """
    SELECT format('internal.%I', name) FROM internal.partitions_of('internal')
    WHERE "table" IN ('hot', 'late') AND upper(bounds) <= $1
"""
STORED = "SELECT count(*) FROM internal.samples_between($1, $2)"
NOBODYS = """
    SELECT count(*) FROM internal.hot x
    WHERE NOT EXISTS (SELECT FROM internal.series s WHERE s.series_id = x.series_id)
"""
STATE = """
    SELECT (SELECT count(*) FROM internal.series) AS series,
        pg_total_relation_size('internal.series') AS series_bytes,
        pg_database_size(current_database()) - marks.bytes AS database_bytes,
        marks.bytes AS marks_bytes
    FROM (
        SELECT sum(pg_total_relation_size(name::regclass))::bigint AS bytes
        FROM (VALUES ('internal.hours_todo'), ('internal.hours_mark')) AS t (name)
    ) AS marks
"""


class State(NamedTuple):
    """At the end of half an hour. Marks of hours that late samples came for are by themselves: all
    samples here are late, each day anew, and they stay until none has come for ten real minutes."""

    series: int
    series_bytes: int
    database_bytes: int
    marks_bytes: int
    cached: float
    daemon_bytes: int


GROW = [name for name in State._fields if name != "marks_bytes"]


def run() -> dict[str, float]:
    """How much more there is of each in the last hour than in the one before; what is missing."""
    age_seconds = SECONDS / HOURS
    # Blocks stay as long as a month of theirs: what is looked at is what rows leave behind.
    with running_stack(
        PROMGRES_WRITER__REMOVE_SERIES_AGE_SECONDS=str(age_seconds), PROMGRES_STORAGE__PACK="false"
    ) as stack:
        return asyncio.run(_churn(stack))


async def _churn(stack: Stack) -> dict[str, float]:
    states: list[State] = []
    missing = 0
    rounds = _rounds()
    begins = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begins -= (HALF_HOURS + 2) * DAY
    began = time.monotonic()
    for half_hour in range(HALF_HOURS):
        since = begins + half_hour * DAY
        if half_hour == KILLED_IN:
            psutil.Process(child(stack.program.pid, "postgres", "-D").pid).kill()
        for number in range(ROUNDS_A_HALF_HOUR):
            await _send(stack, next(rounds), since + number * DAY / ROUNDS_A_HALF_HOUR)
            due = (half_hour * ROUNDS_A_HALF_HOUR + number + 1) / (HALF_HOURS * ROUNDS_A_HALF_HOUR)
            await asyncio.sleep(max(0.0, began + due * SECONDS - time.monotonic()))
        await _drain(stack)
        connection = await _connected(stack)
        try:
            acknowledged = ROUNDS_A_HALF_HOUR * REQUESTS_A_ROUND * SERIES_A_REQUEST
            stored = await connection.fetchval(STORED, since, since + DAY)
            missing += acknowledged - stored
            for row in await connection.fetch(EXPIRED, since - (KEPT_HALF_HOURS - 1) * DAY):
                await connection.execute(f"DROP TABLE {row[0]}")
            await connection.execute("VACUUM internal.series")  # as autovacuum does within an hour
            states.append(await _state(stack, connection))
            nobodys = await connection.fetchval(NOBODYS)
        finally:
            await connection.close()
        print(f"hour {(half_hour + 1) / 2}: {states[-1]}, {acknowledged - stored} missing")
    spooled = await asyncio.to_thread(_metric, stack, "promgres_spool_appended_total")
    return _figures(states, missing, nobodys, spooled)


def _figures(states: list[State], missing: int, nobodys: int, spooled: float) -> dict[str, float]:
    growth = {
        f"churn_{name}_growth_ratio": statistics.mean(getattr(state, name) for state in states[-2:])
        / statistics.mean(getattr(state, name) for state in states[-4:-2])
        for name in GROW
    }
    is_flat = max(growth.values()) <= MOST_GROWTH and not missing and not nobodys
    print(f"churn: {HOURS} h of {ALIVE:,} series: {'flat' if is_flat else 'NOT FLAT'}")
    rounds = HALF_HOURS * ROUNDS_A_HALF_HOUR
    return {
        "churn_is_flat": float(is_flat),
        "churn_series_created": (REQUESTS_A_ROUND + rounds - 1) * SERIES_A_REQUEST,
        "churn_series_left": states[-1].series,
        "churn_requests_spooled": spooled,
        "churn_acknowledged_samples_missing": missing,
        "churn_samples_of_nobody": nobodys,
        **growth,
    }


def _rounds() -> Iterator[list[RequestTemplate]]:
    """The requests of each round: one that is new, and not the oldest any more."""
    alive: deque[RequestTemplate] = deque(maxlen=REQUESTS_A_ROUND)
    for number in count():
        alive.append(RequestTemplate(number * SERIES_A_REQUEST, SERIES_A_REQUEST, "churn"))
        if len(alive) == REQUESTS_A_ROUND:
            yield list(alive)


async def _send(stack: Stack, requests: list[RequestTemplate], at: datetime) -> None:
    for request in requests:
        body = request.body(int(at.timestamp() * 1000))
        answer = await asyncio.to_thread(send, stack.write_url, body)
        while answer.status == 503:  # as senders do
            await asyncio.sleep(0.1)
            answer = await asyncio.to_thread(send, stack.write_url, body)
        assert answer.status == 204, answer


async def _drain(stack: Stack) -> None:
    async with asyncio.timeout(AWAY_SECONDS):
        while await asyncio.to_thread(_metric, stack, "promgres_spool_requests"):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def _connected(stack: Stack) -> asyncpg.Connection:
    async with asyncio.timeout(AWAY_SECONDS):
        while True:
            try:
                return await asyncpg.connect(stack.database_url)
            except (*CONNECTION_ERRORS, asyncpg.PostgresError):  # it recovers
                await asyncio.sleep(0.2)


async def _state(stack: Stack, connection: asyncpg.Connection) -> State:
    row = await connection.fetchrow(STATE)
    assert row is not None
    cached = await asyncio.to_thread(_metric, stack, "promgres_series_cached")
    daemon = psutil.Process(child(stack.program.pid, "bin/promgres ingest").pid)
    return State(**row, cached=cached, daemon_bytes=daemon.memory_info().rss)


def _metric(stack: Stack, name: str) -> float:
    with urlopen(stack.write_url.rpartition("/write")[0] + "/metrics") as answer:
        text: str = answer.read().decode()
    found = re.search(rf"^{name} (\S+)", text, re.MULTILINE)
    assert found is not None, f"no such metric: {name}"
    return float(found.group(1))
