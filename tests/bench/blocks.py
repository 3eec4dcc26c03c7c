"""Reading of blocks beside the same of rows: periods through the public functions, newest samples,
and the way into numpy. Everything is in memory; times are medians, CPU is that of the backend.

A thousand series, a sample every 15 s, a whole day, which is packed, and left as rows in another
database. Then 240 rounds of BENCH_BLOCKS_HOT_SERIES series: an hour as it comes in, its rows of one
series stand on 240 pages (a million samples a minute are 250,000 series). Beside it the pages of a
day of a metric by minute. BENCH_POSTGRES is the folder of another PostgreSQL's binaries.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import psutil

from ingest.config import StorageSettings
from ingest.logs import configure_logs
from ingest.migrate import migrate
from ingest.promql.matchers import Matcher
from ingest.promql.storage import Selection
from ingest.storage.selecting import Budget, LabelCache, find_series, select
from tests.bench import minutes
from tests.bench.questions import median_ms
from tests.bench.raw import generate
from tests.support.blocks import pack, switch_on
from tests.support.databases import Database, connect
from tests.support.postgres import UNSAFE_BUT_QUICK, Cluster, make_home
from tests.support.processes import cpu_seconds

SERIES = 1000
STEP_SECONDS = 15
HOT_SERIES = int(os.environ.get("BENCH_BLOCKS_HOT_SERIES", "5000"))
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
    """Milliseconds, samples a second, pages."""
    configure_logs("warning", "text")
    binaries = os.environ.get("BENCH_POSTGRES")
    cluster = make_home(UNSAFE_BUT_QUICK, binaries=Path(binaries) if binaries else None).launch()
    try:
        return asyncio.run(_measure(cluster))
    finally:
        cluster.stop()


async def _measure(cluster: Cluster) -> dict[str, float]:
    databases = {
        name: Database(cluster.url(name), "postgres") for name in ("minutes", "rows", "packed")
    }
    async with connect(Database(cluster.url("postgres"), "postgres")) as connection:
        for name in ("minutes", "rows"):
            await connection.execute(f"CREATE DATABASE {name}")
        figures = await minutes.measure(
            databases["minutes"], (), 7, ("day_by_period", "day_by_view")
        )
        asked = await _fill(databases["rows"])
        await connection.execute("CREATE DATABASE packed TEMPLATE rows")
    async with connect(databases["packed"]) as packed, connect(databases["rows"]) as rows:
        await switch_on(packed)
        await pack(packed, asked.start + DAY)
        await packed.execute("VACUUM ANALYZE", timeout=600)
        for name, (query, arguments, least, repetitions) in asked.questions().items():
            for connection, of in ((packed, ""), (rows, "_of_rows")):
                assert await connection.fetchval(query, *arguments) >= least, name
                wall, cpu = await median_ms(connection, query, arguments, repetitions)
                figures |= {f"blocks_{name}_ms{of}": wall, f"blocks_{name}_cpu_ms{of}": cpu}
        for connection, of, rounds in ((packed, "", 5), (rows, "_of_rows", 2)):
            wall, cpu = await _into_numpy(connection, asked.start, rounds)
            figures[f"blocks_into_numpy_samples_per_second{of}"] = wall
            figures[f"blocks_into_numpy_samples_per_cpu_second{of}"] = cpu
    return figures


class Asked(NamedTuple):
    """What there is: ids of series with a day from `start` on, and of those with an hour up to
    `now`."""

    start: datetime
    kept: list[int]
    now: datetime
    hot: list[int]

    def questions(self) -> dict[str, tuple[str, tuple[Any, ...], int, int]]:
        """Statement, arguments, the least that is right, and how often it is asked."""
        one, noon = self.kept[SERIES // 2], self.start + DAY / 2
        hour = (self.now - HOUR, self.now, self.hot[HOT_SERIES // 2])
        return {
            "day_of_one_series": (OF_ONE, (self.start, self.start + DAY, one), 5760, 100),
            "hour_of_1000_series": (OF_ALL, (noon, noon + HOUR), 240 * SERIES, 15),
            "newest_hour_of_one_series": (OF_ONE, hour, 238, 200),
            "newest_sample": (NEWEST, (self.now - HOUR, self.hot[HOT_SERIES // 3]), 1, 200),
        }


async def _fill(database: Database) -> Asked:
    await migrate(database.url, database.settings(storage=StorageSettings(pack=False)))
    async with connect(database) as connection:
        now = datetime.now(UTC)
        # The hour before midnight is none of the day that is packed.
        start = now.replace(hour=0, minute=0, second=0, microsecond=0) - 2 * DAY
        kept = await _series(connection, "kept", SERIES)
        await generate(connection, "internal", start, 1, STEP_SECONDS)
        hot = await _series(connection, "hot", HOT_SERIES)
        await connection.execute(ENSURE, now - HOUR, now)
        for first in range(0, 240, 20):
            await connection.execute(ROUNDS, hot[0], hot[-1], now, first, first + 19, timeout=600)
        await connection.execute("VACUUM ANALYZE", timeout=600)
        return Asked(start, kept, now, hot)


async def _series(connection: asyncpg.Connection, name: str, count: int) -> list[int]:
    identities = [f"{name}{number}".ljust(16).encode() for number in range(count)]
    labels = [json.dumps({"__name__": name, "n": str(number)}) for number in range(count)]
    ids: list[int] = await connection.fetchval(RESOLVE, identities, count, name, labels)
    return ids


async def _into_numpy(
    connection: asyncpg.Connection, start: datetime, rounds: int
) -> tuple[float, float]:
    """What PromQL reads of a thousand series and a day, as arrays: samples a second, and of them a
    second of CPU, ours and the backend's."""
    since_ms = int(start.timestamp() * 1000)
    selection = Selection((Matcher("=", "__name__", "kept"),), since_ms, since_ms + 86_400_000 - 1)
    processes = [psutil.Process(), psutil.Process(connection.get_server_pid())]
    rates, cpu_rates = [], []
    for _ in range(rounds):
        async with connection.transaction():
            allowed = Budget(10**8, 10**5)
            found = await find_series(connection, selection.matchers, allowed, LabelCache())
            began, cpu = time.perf_counter(), cpu_seconds(*processes)
            samples = await select(connection, found, selection, allowed, False)
            assert len(samples.values) == 5760 * SERIES
            rates.append(len(samples.values) / (time.perf_counter() - began))
            cpu_rates.append(len(samples.values) / (cpu_seconds(*processes) - cpu))
    return statistics.median(rates), statistics.median(cpu_rates)
