"""Late samples beside current ones, and the worker that stores rollups of both."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import psutil

from ingest.load.requests import RequestTemplate
from ingest.storage.engine import to_datetime
from tests.support.processes import child, cpu_seconds
from tests.support.remote_write import send
from tests.support.stack import Stack, running_stack

REQUESTS = int(os.environ.get("BENCH_LATE_REQUESTS", "500"))
SAMPLES = 100
"""A request: one sample of each of so many series."""
ROUNDS = 4
DAY_MS = 86_400_000

OLD_MS, HOUR_MS, PARTITION_MS = 3 * 3_600_000, 3_600_000, 6 * 3_600_000
SPARE_MS = 600_000
"""Of a closed partition: what is sent from its beginning on ends within it."""
IS_PACKED = "SELECT packed_before > $1 FROM internal.packed WHERE target = 'internal'"

METRICS, SERIES, POINTS = 300, 16_000, 80
"""What the worker stores at once: 20 minutes of a usual scrape."""
MINUTELY_METRICS, MINUTELY_POINTS = 20, 7200
"""And the other extreme: a sample a minute, each of which is a minute's rollup of its own."""

LATE_MARKS = """
    SELECT count(*) FROM internal.rollup_mark WHERE hour < now() - interval '2 hours'
"""
ENSURE = "SELECT internal.ensure_partitions('internal', $1, $2)"
RESOLVE = """
    SELECT series_id FROM internal.resolve_series(
        ARRAY(SELECT substring(sha256(convert_to($1 || n, 'UTF8')) FOR 16)
              FROM generate_series(1, $2) AS n),
        array_fill(1, ARRAY[$2]), array_fill('internal'::text, ARRAY[$2]),
        ARRAY(SELECT $1 || n % $3 FROM generate_series(1, $2) AS n),
        array_fill('common'::text, ARRAY[$2]), array_fill('{}'::text, ARRAY[$2]))
"""
FILL = """
    INSERT INTO staging_internal.sample
    SELECT $2::timestamptz + n * $3::interval, s,
        CASE s % 10 WHEN 0 THEN sqrt(s + n) WHEN 1 THEN 5 WHEN 2 THEN 5 WHEN 3 THEN s * 1000 + n
            WHEN 4 THEN s * 1000 + n WHEN 5 THEN n ELSE 0 END
    FROM generate_series(0, $4::int - 1) AS n, unnest($1::bigint[]) AS s
"""


def late_start_ms(*, is_closed: bool) -> int:
    """A moment three hours ago, or near it, of a partition that takes rows, or of one that has been
    over for an hour. Three hours ago is the one or the other, as the time of day has it."""
    now_ms = time.time_ns() // 1_000_000
    edge_ms = (now_ms - HOUR_MS) // PARTITION_MS * PARTITION_MS
    old_ms = now_ms - OLD_MS
    return min(old_ms, edge_ms - SPARE_MS) if is_closed else max(old_ms, edge_ms)


async def until_packed(connection: asyncpg.Connection, late_ms: int) -> None:
    """Wait for the worker, who looks every 20 s, to close and pack what has come of a time."""
    async with asyncio.timeout(300):
        while not await connection.fetchval(IS_PACKED, to_datetime(late_ms)):
            await connection.execute("SELECT pg_sleep(0.5)")


def run() -> dict[str, float]:
    """Late against current samples in turns, requests of 100 one at a time; and the worker."""
    with running_stack() as stack:
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> dict[str, float]:
    connection = await asyncpg.connect(stack.database_url)
    try:
        return await _late(stack, connection) | await _worker(connection)
    finally:
        await connection.close()


async def _late(stack: Stack, connection: asyncpg.Connection) -> dict[str, float]:
    server = psutil.Process(child(stack.program.pid, "postgres", "-D").pid)
    template = RequestTemplate(0, SAMPLES, "late")
    seconds: dict[str, list[float]] = {"current": [], "late": []}
    cpu_ms: dict[str, list[float]] = {"current": [], "late": []}
    for _ in range(ROUNDS):
        for kind in ("current", "late"):
            cpu_before, began = _cpu_seconds(server), time.perf_counter()
            for _ in range(REQUESTS):
                at_ms = time.time_ns() // 1_000_000 - (DAY_MS if kind == "late" else 0)
                answer = send(stack.write_url, template.body(at_ms))
                assert answer.status == 204, answer
            seconds[kind].append(time.perf_counter() - began)
            while await connection.fetchval(LATE_MARKS):  # what the worker does of it counts
                await connection.execute("SELECT pg_sleep(0.5)")
            cpu_ms[kind].append((_cpu_seconds(server) - cpu_before) * 1000 / REQUESTS)
    return {
        "late_to_current_ingest_ratio": statistics.median(
            current / late for current, late in zip(*seconds.values(), strict=True)
        ),
        "late_request_postgres_cpu_ms": statistics.median(cpu_ms["late"]),
        "current_request_postgres_cpu_ms": statistics.median(cpu_ms["current"]),
    }


def _cpu_seconds(server: psutil.Process) -> float:
    """Of a PostgreSQL server and all its backends, those that ended too."""
    ended = server.cpu_times()
    under_way = cpu_seconds(server, *server.children())
    return float(ended.children_user + ended.children_system) + under_way


async def _worker(connection: asyncpg.Connection) -> dict[str, float]:
    """Samples that the worker makes rollups of in a second of its backend's processor time."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    shapes = {
        "worker": (SERIES, METRICS, POINTS, timedelta(seconds=15), today - timedelta(days=9)),
        "worker_minutely": (
            MINUTELY_METRICS, MINUTELY_METRICS, MINUTELY_POINTS, timedelta(minutes=1),
            today - timedelta(days=8),
        ),
    }  # fmt: skip
    figures = {}
    backend = psutil.Process(connection.get_server_pid())
    for name, (series, metrics, points, step, start) in shapes.items():
        ids = [row[0] for row in await connection.fetch(RESOLVE, name, series, metrics)]
        await connection.execute(ENSURE, start, start + points * step)
        # The worker of the write side waits for this row.
        async with connection.transaction():
            await connection.execute("SELECT FROM internal.target FOR NO KEY UPDATE")
            await connection.execute(FILL, ids, start, step, points)
            before = cpu_seconds(backend)
            while await connection.fetchval("SELECT internal.rollup_work('1 day')"):
                pass
            used = cpu_seconds(backend) - before
        figures[f"{name}_samples_per_second"] = series * points / used
    return figures
