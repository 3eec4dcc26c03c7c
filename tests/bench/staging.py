"""How large staging grows while somebody else holds a snapshot and locks, as pg_dump does.

One sample in a hundred is sent twice, so that batches take the way through staging.
BENCH_STAGING_SECONDS (60) is how long it lasts, for each number of writers.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import asyncpg

from ingest.load.requests import RequestTemplate
from tests.support.remote_write import send, snappy
from tests.support.stack import Stack, running_stack

SECONDS = float(os.environ.get("BENCH_STAGING_SECONDS", "60"))
WRITERS = (1, 2, 4)
SENDERS = 8
SERIES_A_REQUEST = 2000
REPEATED = SERIES_A_REQUEST // 100
SIZE_EVERY_SECONDS = 0.25

TABLES = """
SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
WHERE relkind IN ('r', 'p') AND NOT relispartition
    AND (relnamespace = 'staging_internal'::regnamespace OR oid = 'internal.sample'::regclass)
"""
STAGING_BYTES = """
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'staging_internal'::regnamespace
"""


def run() -> dict[str, float]:
    """Size of staging and speed at the end compared with the beginning, by number of writers."""
    figures: dict[str, float] = {}
    for writers in WRITERS:
        with running_stack(PROMGRES_WRITER__WRITERS=str(writers)) as stack:
            figures |= asyncio.run(_measure(stack, f"staging_{writers}_writers"))
    return figures


async def _measure(stack: Stack, name: str) -> dict[str, float]:
    streams = [_Stream(number) for number in range(SENDERS)]
    for stream in streams:  # every series is known from here on
        await asyncio.to_thread(stream.send, stack.write_url)
    answered: list[tuple[float, int]] = []
    sizes: list[int] = []
    async with _held_tables(stack):
        watcher = asyncio.create_task(_watch(stack, sizes))
        started = time.perf_counter()
        await asyncio.gather(
            *[asyncio.to_thread(stream.run, stack.write_url, answered) for stream in streams]
        )
        watcher.cancel()
    return {
        f"{name}_samples_per_second": sum(count for _, count in answered) / SECONDS,
        f"{name}_last_to_first_quarter_ratio": _last_to_first_quarter(answered, started),
        f"{name}_start_bytes": sizes[0],
        f"{name}_maximum_bytes": max(sizes),
        f"{name}_end_bytes": sizes[-1],
    }


class _Stream:
    """One sender's requests: all of its series, and a few samples of the request before."""

    def __init__(self, number: int) -> None:
        first = number * SERIES_A_REQUEST
        self._new = RequestTemplate(first, SERIES_A_REQUEST)
        self._repeated = RequestTemplate(first, REPEATED)
        self._times = count(time.time_ns() // 1_000_000)

    def send(self, url: str) -> None:
        """Send one request, which must be acknowledged."""
        timestamp_ms = next(self._times)
        # Messages one after the other are one message: their series are all in it.
        message = self._new.payload(timestamp_ms) + self._repeated.payload(timestamp_ms - 1)
        answer = send(url, snappy(message))
        assert answer.status == 204, answer

    def run(self, url: str, answered: list[tuple[float, int]]) -> None:
        """Send until the time is over; notes when how many samples were answered."""
        deadline = time.perf_counter() + SECONDS
        while time.perf_counter() < deadline:
            self.send(url)
            answered.append((time.perf_counter(), SERIES_A_REQUEST + REPEATED))


@asynccontextmanager
async def _held_tables(stack: Stack) -> AsyncIterator[None]:
    """A snapshot and ACCESS SHARE on the sample table and everything of staging."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            tables = await connection.fetchval(TABLES)
            await connection.execute(f"LOCK TABLE {tables} IN ACCESS SHARE MODE")
            yield
    finally:
        await connection.close()


async def _watch(stack: Stack, sizes: list[int]) -> None:
    """Note the size of staging again and again."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        while True:
            sizes.append(await connection.fetchval(STAGING_BYTES))
            await asyncio.sleep(SIZE_EVERY_SECONDS)
    finally:
        await connection.close()


def _last_to_first_quarter(answered: list[tuple[float, int]], started: float) -> float:
    quarter = SECONDS / 4
    first = sum(samples for at, samples in answered if at < started + quarter)
    last = sum(samples for at, samples in answered if 3 * quarter <= at - started < SECONDS)
    return last / first
