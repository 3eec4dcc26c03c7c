"""Long ranges from hours of series beside the same from samples, which are in blocks: rows read,
processor time of the database and of PromQL, and what hours take on disk.

Both are asked in turns, in one database: without hours is with the mark of how far they are made
taken back, in a transaction that is rolled back.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import numpy as np
import psutil

from ingest.copy_samples import encode_samples
from ingest.logs import configure_logs
from ingest.migrate import migrate
from ingest.model import Float64s, Rows
from ingest.promql.evaluate import Options, Query
from ingest.storage.selecting import Budget, LabelCache, find_series, select
from tests.bench.disk import ENSURE, SERIES_HOURS, TREE_BYTES, mixed_values
from tests.bench.raw import copy_payload
from tests.support.blocks import pack, switch_on
from tests.support.databases import Database
from tests.support.hours import make_hours
from tests.support.postgres import start_cluster
from tests.support.processes import cpu_seconds

DAYS = int(os.environ.get("BENCH_HOURS_DAYS", "30"))
SERIES = int(os.environ.get("BENCH_HOURS_SERIES", "5"))
STEP_MS, DAY_MS = 15_000, 86_400_000
REPETITIONS = 3
MOST_SAMPLES = 100_000_000

RESOLVE = """
SELECT series_id FROM internal.resolve_series(
    ARRAY(SELECT decode(lpad(to_hex(n), 32, '0'), 'hex') FROM generate_series(1, $1::int) AS n),
    array_fill(1, ARRAY[$1::int]), array_fill('internal'::text, ARRAY[$1::int]),
    array_fill('m'::text, ARRAY[$1::int]), array_fill('common'::text, ARRAY[$1::int]),
    ARRAY(
        SELECT format('{"__name__": "m", "n": "%s", "kind": "%s"}', n, ($2::text[])[n])
        FROM generate_series(1, $1::int) AS n)
) ORDER BY 1
"""
ASK = "SELECT count(*) FROM api.query_metric('m', NULL, '{*}', $1, $2, $3, $4)"
TOP = "SELECT count(*) FROM api.top_series('m', NULL, '{*}', $1, $2, $3)"
UNITS = """
SELECT count(*) FROM internal.units($1, $1, ARRAY[$2, $3]::timestamptz[], $2, $3, 'steps')
"""
ROWS = "SELECT count(*) FROM internal.sample_units($2, $3) WHERE series_id = ANY ($1)"


def run() -> dict[str, float]:
    """Milliseconds of processor time, medians; rows; bytes a sample."""
    configure_logs("warning", "text")
    cluster = start_cluster()
    try:
        database = Database(cluster.url("postgres"), "postgres")
        return asyncio.run(_measure(database))
    finally:
        cluster.stop()


async def _measure(database: Database) -> dict[str, float]:
    await migrate(database.url, database.settings())
    connection = await asyncpg.connect(database.url, statement_cache_size=0)
    try:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        begins = today - timedelta(days=DAYS)
        values = mixed_values(DAY_MS // STEP_MS)[:SERIES]
        grows = (np.diff(values) >= 0).all(axis=1)
        kinds = np.where(grows, "counter", "gauge").tolist()
        ids = [row["series_id"] for row in await connection.fetch(RESOLVE, SERIES, kinds)]
        await switch_on(connection)
        growth = (grows * (values[:, -1] - values[:, 0]))[:, None]
        samples = await _fill(connection, ids, begins, values, growth)
        await pack(connection, today + timedelta(days=1))
        backend = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
        making = cpu_seconds(backend)
        await make_hours(connection, today, least=720)
        making = cpu_seconds(backend) - making
        await connection.execute("VACUUM ANALYZE")
        hours, blocks = [
            await connection.fetchval(TREE_BYTES, names) / samples
            for names in (SERIES_HOURS, ["internal.block", "internal.long_block"])
        ]
        # Neither edge is that of an hour.
        start = begins + timedelta(minutes=17, seconds=23)
        end = today - timedelta(minutes=29, seconds=31)
        figures = {
            "hours_samples_made_per_cpu_second": samples / making,
            "hours_bytes_per_sample": hours,
            "hours_to_blocks_bytes_ratio": hours / blocks,
            "hours_rows_read": float(await connection.fetchval(UNITS, ids, start, end)),
            "hours_rows_read_without": float(await connection.fetchval(ROWS, ids, start, end)),
        }
        day = timedelta(days=1)
        for aggregate in ("increase", "max", "avg"):
            figures |= await _both(
                connection, f"hours_{aggregate}_by_day",
                partial(connection.fetchval, ASK, aggregate, day, start, end), backend,
            )  # fmt: skip
        figures |= await _both(
            connection, "hours_top_by_increase",
            lambda: connection.fetchval(TOP, "increase", start, end), backend,
        )  # fmt: skip
        for function, of in (("increase", '{kind="counter"}'), ("max_over_time", "")):
            text = f"{function}(m{of}[{DAYS - 1}d])"
            figures |= await _both(
                connection, f"hours_promql_{function}",
                partial(_evaluated, connection, text, end), backend, psutil.Process(),
            )  # fmt: skip
        return figures
    finally:
        await connection.close()


async def _fill(
    connection: asyncpg.Connection, ids: list[int], begins: datetime,
    values: Float64s, growth: Float64s,
) -> int:  # fmt: skip
    """Days of each series [S, points], all alike but for what they grow a day [S, 1]; how many
    samples that is."""
    points = values.shape[1]
    first_ms = int(begins.timestamp() * 1000)
    for day in range(DAYS):
        await connection.execute(
            ENSURE, begins + timedelta(days=day), begins + timedelta(days=day + 1, seconds=-1)
        )
        scraped_at = np.array(ids) * 7919 % STEP_MS
        times = first_ms + day * DAY_MS + np.arange(points) * STEP_MS
        rows = Rows(
            np.repeat(np.array(ids), points),
            (scraped_at[:, None] + times).reshape(-1),
            (values + day * growth).reshape(-1),
        )
        await copy_payload(connection, encode_samples(rows), "staging_internal", "sample")
    return DAYS * int(points) * len(ids)


async def _evaluated(connection: asyncpg.Connection, text: str, at: datetime) -> None:
    """As a worker evaluates it, without HTTP."""
    query = Query(text, int(at.timestamp() * 1000), options=Options(max_samples=MOST_SAMPLES))
    budget, cache, fetched = Budget(MOST_SAMPLES, 10**5), LabelCache(), []
    for selection in query.selections:
        found = await find_series(connection, selection.matchers, budget, cache)
        fetched.append(await select(connection, found, selection, budget))
    answer = query.evaluate(fetched)
    assert answer.samples.labels


async def _both(
    connection: asyncpg.Connection, name: str, ask: Callable[[], Awaitable[object]],
    *processes: psutil.Process,
) -> dict[str, float]:  # fmt: skip
    """Medians with hours and without, in turns."""
    cpu: dict[bool, list[float]] = {True: [], False: []}
    wall: dict[bool, list[float]] = {True: [], False: []}
    for repetition in range(2 * REPETITIONS):
        with_hours = repetition % 2 == 0
        transaction = connection.transaction()
        await transaction.start()
        if not with_hours:
            await connection.execute("UPDATE internal.hours_state SET made_before = '-infinity'")
        before, began = cpu_seconds(*processes), time.perf_counter()
        await ask()
        wall[with_hours].append(1000 * (time.perf_counter() - began))
        cpu[with_hours].append(1000 * (cpu_seconds(*processes) - before))
        await transaction.rollback()
    return {
        f"{name}_ms": statistics.median(wall[True]),
        f"{name}_without_ms": statistics.median(wall[False]),
        f"{name}_cpu_ms": statistics.mean(cpu[True]),
        f"{name}_without_cpu_ms": statistics.mean(cpu[False]),
    }
