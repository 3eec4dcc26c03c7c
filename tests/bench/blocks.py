"""Reading of blocks beside the same of rows: periods through the public functions, newest samples,
and the way into numpy. Everything is in memory, as medians of BENCH_BLOCKS_REPETITIONS.

A thousand series, a sample every 15 s, all of yesterday, which is packed, and left as rows in
another database. Then 240 rounds of BENCH_BLOCKS_HOT_SERIES series: an hour as it comes in, its
rows of one series stand on 240 pages (a million samples a minute are 250,000 series).
BENCH_POSTGRES is the folder of another PostgreSQL's binaries.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from ingest.config import StorageSettings
from ingest.logs import configure_logs
from ingest.migrate import migrate
from ingest.promql.matchers import Matcher
from ingest.promql.storage import Selection
from ingest.storage.selecting import Budget, LabelCache, find_series, select
from tests.bench.raw import generate
from tests.support.blocks import pack
from tests.support.databases import Database
from tests.support.postgres import UNSAFE_BUT_QUICK, make_home

SERIES = 1000
STEP_SECONDS = 15
HOT_SERIES = int(os.environ.get("BENCH_BLOCKS_HOT_SERIES", "5000"))
REPETITIONS = int(os.environ.get("BENCH_BLOCKS_REPETITIONS", "15"))
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
RESOLVE = """
SELECT array_agg(series_id ORDER BY series_id) FROM internal.resolve_series(
    $1, array_fill(1, ARRAY[$2::int]), array_fill('internal'::text, ARRAY[$2::int]),
    array_fill($3::text, ARRAY[$2::int]), array_fill('common'::text, ARRAY[$2::int]), $4)
"""
ROUNDS = """
INSERT INTO internal.hot (time, series_id, value)
SELECT date_trunc('second', $3::timestamptz) - (240 - n) * interval '15 s', s, n
FROM generate_series($4::int, $5::int) AS n, generate_series($1::bigint, $2::bigint) AS s
ORDER BY n, s
"""
ENSURE = "SELECT internal.ensure_partitions('internal', $1, $2)"
OF_ONE = "SELECT count(value) FROM internal.samples_between($1, $2) WHERE series_id = $3"
OF_ALL = "SELECT count(value) FROM internal.samples_between($1, $2)"
NEWEST = """
SELECT value FROM internal.samples_between($1, 'infinity') WHERE series_id = $2
ORDER BY time DESC LIMIT 1
"""


def run() -> dict[str, float]:
    """Milliseconds, and samples a second."""
    configure_logs("warning", "text")
    figures: dict[str, float] = {}
    for packed in (True, False):
        binaries = os.environ.get("BENCH_POSTGRES")
        home = make_home(UNSAFE_BUT_QUICK, binaries=Path(binaries) if binaries else None)
        cluster = home.launch()
        try:
            database = Database(cluster.url("postgres"), "postgres")
            found = asyncio.run(_measure(database, packed))
        finally:
            cluster.stop()
        figures |= found if packed else {f"{name}_of_rows": value for name, value in found.items()}
    return figures


async def _measure(database: Database, packed: bool) -> dict[str, float]:
    await migrate(database.url, database.settings(storage=StorageSettings(pack=packed)))
    connection = await asyncpg.connect(database.url)
    try:
        ids = await _series(connection, "kept", SERIES)
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        start = midnight - DAY
        await generate(connection, "internal", start, 1, STEP_SECONDS)
        if packed:
            await pack(connection, midnight)
        hot = await _series(connection, "hot", HOT_SERIES)
        now = datetime.now(UTC)
        await connection.execute(ENSURE, now - HOUR, now)
        for first in range(0, 240, 20):
            await connection.execute(ROUNDS, hot[0], hot[-1], now, first, first + 19, timeout=600)
        await connection.execute("VACUUM ANALYZE", timeout=600)
        noon, one = start + DAY / 2, ids[SERIES // 2]
        asked: dict[str, tuple[str, tuple[Any, ...], int]] = {
            "day_of_one_series_ms": (OF_ONE, (start, midnight, one), 5760),
            "hour_of_1000_series_ms": (OF_ALL, (noon, noon + HOUR), 240 * SERIES),
            "newest_hour_of_one_series_ms": (OF_ONE, (now - HOUR, now, hot[HOT_SERIES // 2]), 238),
            "newest_sample_ms": (NEWEST, (now - HOUR, hot[HOT_SERIES // 3]), 1),
        }
        figures = {}
        for name, (query, arguments, least) in asked.items():
            statement = await connection.prepare(query)
            assert await statement.fetchval(*arguments) >= least, name

            async def once(
                statement: Any = statement, arguments: tuple[Any, ...] = arguments
            ) -> None:
                await statement.fetchval(*arguments)

            figures[f"blocks_{name}"] = await _median_ms(once)
        figures["blocks_into_numpy_samples_per_second"] = await _into_numpy(connection, start)
        return figures
    finally:
        await connection.close()


async def _series(connection: asyncpg.Connection, name: str, count: int) -> list[int]:
    identities = [f"{name}{number}".ljust(16).encode() for number in range(count)]
    labels = [json.dumps({"__name__": name, "n": str(number)}) for number in range(count)]
    ids: list[int] = await connection.fetchval(RESOLVE, identities, count, name, labels)
    return ids


async def _median_ms(ask: Callable[[], Awaitable[None]]) -> float:
    times = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        await ask()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


async def _into_numpy(connection: asyncpg.Connection, start: datetime) -> float:
    """What PromQL reads of a thousand series and a day, as arrays."""
    since_ms = int(start.timestamp() * 1000)
    selection = Selection((Matcher("=", "__name__", "kept"),), since_ms, since_ms + 86_400_000 - 1)
    rates = []
    for _ in range(max(3, REPETITIONS // 5)):
        async with connection.transaction():
            allowed = Budget(10**8, 10**5)
            found = await find_series(connection, selection.matchers, allowed, LabelCache())
            began = time.perf_counter()
            samples = await select(connection, found, selection, allowed, False)
            rates.append(len(samples.values) / (time.perf_counter() - began))
            assert len(samples.values) == 5760 * SERIES
    return statistics.median(rates)
