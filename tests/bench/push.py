"""Events through the Python client and HTTP into the database, and the same over a kill -9."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from typing import NamedTuple

import asyncpg

from promgres_client import Client
from tests.support.processes import child
from tests.support.stack import Stack, running_stack

EVENTS = int(os.environ.get("BENCH_EVENTS", "200000"))
CALLS = 50_000
PATIENCE_SECONDS = 600
ROUTES = ("/", "/basket", "/checkout", "/search")


class _Run(NamedTuple):
    """Seconds until all was acknowledged, and what this process took of a processor."""

    seconds: float
    cpu_seconds: float


def run() -> dict[str, float]:
    """Events a second with and without a kill of the daemon in the middle, what an event costs the
    application, and what the kill lost or repeated."""
    with running_stack() as stack:
        calm = _record(stack, "calm")
        killed = _record(stack, "killed", kill=True)
        stored, different = asyncio.run(_count(stack, "killed"))
        assert asyncio.run(_count(stack, "calm")) == (EVENTS, EVENTS)
    return {
        "push_events": EVENTS,
        "push_events_per_second": EVENTS / calm.seconds,
        "push_over_kill_events_per_second": EVENTS / killed.seconds,
        "push_lost_over_kill": EVENTS - different,
        "push_repeated_over_kill": stored - different,
        "push_call_us": _call_us(),
        "push_client_cpu_us_per_event": calm.cpu_seconds / EVENTS * 1e6,
    }


def _record(stack: Stack, name: str, kill: bool = False) -> _Run:
    """Record all events from one thread, as fast as they are taken."""
    found = re.match(r"http://[^/]+", stack.write_url)
    assert found
    started, cpu = time.perf_counter(), time.process_time()
    with Client(found[0], when_full="block", timeout=60) as client:
        killer = threading.Thread(target=_kill, args=(stack, client))
        if kill:
            killer.start()
        for number in range(EVENTS):
            client.event(name, route=ROUTES[number % 4], status=200, host="web-1", number=number)
        assert client.flush(PATIENCE_SECONDS)
        seconds = time.perf_counter() - started
        assert (client.acknowledged, client.dropped) == (EVENTS, 0), client.dropped_by_cause
        if kill:
            killer.join()
    return _Run(seconds, time.process_time() - cpu)


def _kill(stack: Stack, client: Client) -> None:
    """End the write side without warning once half of the events are acknowledged."""
    while client.acknowledged < EVENTS // 2:
        time.sleep(0.01)
    child(stack.program.pid, "promgres ingest").kill()


async def _count(stack: Stack, name: str) -> tuple[int, int]:
    """Stored events of a name, and how many different ones."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        row = await connection.fetchrow(
            "SELECT count(*), count(DISTINCT attributes->'number') FROM app.event WHERE name = $1",
            name,
        )
    finally:
        await connection.close()
    assert row is not None
    return row[0], row[1]


def _call_us() -> float:
    """Microseconds of a processor for one call, while nothing is sent."""
    with Client(
        "http://127.0.0.1:1", interval=600, batch_items=CALLS * 2, batch_bytes=2**30
    ) as client:
        started = time.thread_time()
        for number in range(CALLS):
            client.event("call", route="/", status=200, host="web-1", number=number)
        seconds = time.thread_time() - started
        assert client.pending == CALLS
        logging.getLogger("promgres_client").disabled = True  # nobody is there, as planned
        client.close(timeout=0)
    return seconds / CALLS * 1e6
