"""A year of one metric at a day's step, in the database."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np

from ingest.copy_samples import encode_samples
from ingest.model import Rows
from tests.bench.raw import copy_payload
from tests.support.stack import Stack, running_stack

DAYS = int(os.environ.get("BENCH_YEAR_DAYS", "364"))
SAMPLES_A_DAY = 1440
METRICS = 20
REPETITIONS = 20
DAY_MS = 86_400_000

QUERY = """
SELECT * FROM api.get_agg_metric($3, 'common', '1 day', $1, $2)
"""
WAIT = "SELECT count(*) FROM internal.rollup_mark WHERE hour < now() - interval '2 hours'"
ENSURE = "SELECT internal.ensure_partitions('internal', $1, $2)"
RESOLVE = """
SELECT identity, series_id FROM internal.resolve_series(
    $1, array_fill(1, ARRAY[$2::int]), array_fill('internal'::text, ARRAY[$2::int]), $3,
    array_fill('common'::text, ARRAY[$2::int]), array_fill('{}'::text, ARRAY[$2::int]))
"""


def run() -> dict[str, float]:
    """Milliseconds of the query on engine `postgres`, rollups stored, as a function call."""
    with running_stack() as stack:
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> dict[str, float]:
    connection = await asyncpg.connect(stack.database_url)
    try:
        end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        start = end - timedelta(days=DAYS)
        await fill(connection, start, end)
        await _rolled_up(connection)
        await connection.execute("VACUUM ANALYZE")
        whole = await _median_ms(connection, start, end)
        odd = timedelta(minutes=17, seconds=23)
        figures = {
            "year_by_day_ms": whole,
            "year_by_day_odd_edges_ms": await _median_ms(connection, start + odd, end - odd),
        }
        return figures | await _beside_marks(connection, start, end)
    finally:
        await connection.close()


async def _beside_marks(
    connection: asyncpg.Connection, start: datetime, end: datetime
) -> dict[str, float]:
    """The same question while a year of another metric waits for the worker, and when it has come
    to it, in turns of one run; and the question for that other metric."""
    [row] = await connection.fetch(RESOLVE, [bytes(15) + b"!"], 1, ["backfilled"])
    first_ms, hours = int(start.timestamp() * 1000), DAYS * 24
    times = first_ms + np.arange(hours) * 3_600_000
    series_id = np.full(hours, row["series_id"])
    payload = encode_samples(Rows(series_id, times, np.arange(hours, dtype=np.float64)))
    async with connection.transaction():
        await connection.execute("SELECT FROM internal.target FOR NO KEY UPDATE")  # no worker
        await copy_payload(connection, payload, "staging_internal", "sample")
        waiting = await _median_ms(connection, start, end)
        live = await _median_ms(connection, start, end, "backfilled")
        while await connection.fetchval("SELECT internal.rollup_work('1 day')"):
            pass
        settled = await _median_ms(connection, start, end)
    return {
        "settled_read_beside_marks_ratio": waiting / settled,
        "year_by_day_beside_marks_ms": waiting,
        "year_by_day_of_what_waits_ms": live,
    }


async def _rolled_up(connection: asyncpg.Connection) -> None:
    """Wait until the worker of the write side has stored all closed rollups."""
    deadline = time.monotonic() + 300
    while await connection.fetchval(WAIT) and time.monotonic() < deadline:
        await connection.execute("SELECT pg_sleep(0.5)")


async def fill(
    connection: asyncpg.Connection, start: datetime, end: datetime, metrics: int = METRICS
) -> None:
    """A sample a minute of each metric."""
    identities = [number.to_bytes(16, "big") for number in range(metrics)]
    names = [f"year_{number}" for number in range(metrics)]
    rows = await connection.fetch(RESOLVE, identities, metrics, names)
    ids = np.sort(np.array([row["series_id"] for row in rows], np.int64))
    await connection.execute(ENSURE, start, end)
    for day in range((end - start).days):
        first_ms = int(start.timestamp() * 1000) + day * DAY_MS
        times = first_ms + np.arange(SAMPLES_A_DAY) * (DAY_MS // SAMPLES_A_DAY)
        series_id = np.repeat(ids, SAMPLES_A_DAY)
        values = np.arange(len(series_id), dtype=np.float64) / 7
        payload = encode_samples(Rows(series_id, np.tile(times, metrics), values))
        await copy_payload(connection, payload, "staging_internal", "sample")


async def _median_ms(
    connection: asyncpg.Connection, start: datetime, end: datetime, metric: str = "year_0"
) -> float:
    times = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        rows = await connection.fetch(QUERY, start, end, metric)
        times.append((time.perf_counter() - began) * 1000)
        assert len(rows) >= DAYS
    return statistics.median(times)
