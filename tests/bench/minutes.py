"""Minutes packed and as rows: room, pages and milliseconds, of the same minutes.

Room is that of 1,000 series of the mix of `disk`, four samples a minute each, as metrics of ten, of
three and of one series; blocks of these samples take about 2.9 bytes a sample. Questions are about
BENCH_MINUTES_METRICS metrics of ten series in BENCH_MINUTES_DAYS days, whose last hour is rows.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg

from ingest.logs import configure_logs
from ingest.migrate import migrate
from ingest.model import Float64s
from tests.bench.disk import STEP_MS, mixed_values
from tests.support.blocks import switch_on
from tests.support.databases import Database
from tests.support.postgres import start_cluster

DAYS = int(os.environ.get("BENCH_MINUTES_DAYS", "30"))
METRICS = int(os.environ.get("BENCH_MINUTES_METRICS", "25"))
HOURS = 3
A_MINUTE = 60_000 // STEP_MS
ROUNDS = 7
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ROOM = "SELECT sum(pg_total_relation_size(relation)) FROM unnest($1::regclass[]) AS relation"
ROW_TABLES = ["internal.stored_1m"]
PACKED_TABLES = ["internal.packed_1m", "internal.minute"]
NAME = """
INSERT INTO internal.metric (tenant_id, target, schema, name)
SELECT 1, 'internal', 'common', 'm' || n FROM generate_series(1, $1::int) AS n
"""
REPEAT = """
INSERT INTO internal.stored_1m
SELECT metric_id, bucket + d * interval '24 hours', samples, sum, min, max,
    ARRAY[last_key[1] + d * 86400, last_key[2], last_key[3]]
FROM internal.stored_1m, generate_series(1, $1::int - 1) AS d
WHERE metric_id <= $2 ORDER BY 2, 1
"""
BY_PERIOD = "SELECT * FROM internal.rollup_1m_between(1, '{common}', '{m1}', $1, $2)"
BY_VIEW = "SELECT * FROM internal.rollup_1m WHERE tenant_id = 1 AND schema = 'common'"
QUESTIONS = {
    "day_by_period": (BY_PERIOD, 5 * DAY, DAY),
    "day_by_view": (f"{BY_VIEW} AND name = 'm1' AND bucket >= $1 AND bucket < $2", 5 * DAY, DAY),
    "last_hour_of_all": (f"{BY_VIEW} AND bucket >= $1 AND bucket < $2", HOUR, HOUR),
    "old_hour_of_all": (f"{BY_VIEW} AND bucket >= $1 AND bucket < $2", 5 * DAY, HOUR),
    "old_day_of_all": (f"{BY_VIEW} AND bucket >= $1 AND bucket < $2", 5 * DAY, DAY),
}
"""Statement, how long before the end its period begins, and how long that is."""


def run() -> dict[str, float]:
    """Bytes a minute and a sample, pages, milliseconds (medians) in the database."""
    configure_logs("warning", "text")
    cluster = start_cluster()
    try:
        return asyncio.run(measure(Database(cluster.url("postgres"), "postgres"), (10, 3, 1)))
    finally:
        cluster.stop()


async def measure(
    database: Database,
    sizes: Iterable[int],
    days: int = DAYS,
    questions: Collection[str] = tuple(QUESTIONS),
) -> dict[str, float]:
    """In an empty database: room of metrics of so many series each, and some of the questions."""
    await migrate(database.url, database.settings())
    connection = await asyncpg.connect(database.url)
    try:
        await connection.execute("ALTER TABLE internal.stored_1m SET (autovacuum_enabled = off)")
        await switch_on(connection)
        await connection.execute(NAME, 1000)
        figures: dict[str, float] = {}
        for series in sizes:
            figures |= await _room(connection, series)
        return figures | await _questions(connection, days, questions)
    finally:
        await connection.close()


async def _room(connection: asyncpg.Connection, series: int) -> dict[str, float]:
    """Three hours of all 1,000 series."""
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = await _fill(connection, series, end - HOURS * HOUR, HOURS, 1000)
    rows = await connection.fetchval(ROOM, ROW_TABLES)
    await _pack(connection)
    packed = await connection.fetchval(ROOM, PACKED_TABLES)
    samples = 1000 * HOURS * 60 * A_MINUTE
    await connection.execute(
        "TRUNCATE internal.stored_1m, internal.packed_1m, internal.minute;"
        "UPDATE internal.packed_minutes SET before = '-infinity'"
    )
    name = f"of_{series}_series"
    return {
        f"minutes_{name}_row_bytes": float(rows) / minutes,
        f"minutes_{name}_packed_bytes": float(packed) / minutes,
        f"minutes_{name}_packed_bytes_per_sample": float(packed) / samples,
    }


async def _questions(
    connection: asyncpg.Connection, days: int, questions: Collection[str]
) -> dict[str, float]:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = midnight + HOUR  # so that an hour stays rows
    minutes = await _fill(connection, 10, midnight - days * DAY, 24, METRICS)
    await connection.execute(REPEAT, days, METRICS)
    await connection.execute(
        "INSERT INTO internal.stored_1m SELECT metric_id, bucket + interval '24 hours', samples,"
        " sum, min, max, last_key FROM internal.stored_1m WHERE bucket >= $1 AND bucket < $2",
        midnight - DAY, midnight - DAY + HOUR,
    )  # fmt: skip
    await connection.execute("VACUUM ANALYZE")
    rows = await _asked(connection, end, questions)
    began = time.perf_counter()
    await _pack(connection)
    packing = time.perf_counter() - began
    await connection.execute("VACUUM ANALYZE")
    packed = await _asked(connection, end, questions)
    figures = {"minutes_packed_per_second": minutes * days / packing}
    for name in questions:
        for what, now, before in zip(("pages", "ms"), packed[name], rows[name], strict=True):
            figures |= {f"minutes_{name}_{what}": now, f"minutes_{name}_rows_{what}": before}
    return figures


async def _asked(
    connection: asyncpg.Connection, end: datetime, questions: Collection[str]
) -> dict[str, tuple[float, float]]:
    """Of each question pages (of the statement and what it calls) and milliseconds."""
    answers: dict[str, tuple[float, float]] = {}
    for name in questions:
        query, ago, width = QUESTIONS[name]
        found = []
        for _ in range(ROUNDS):
            [plan] = json.loads(
                await connection.fetchval(
                    f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {query}",
                    end - ago,
                    end - ago + width,
                )
            )
            node = plan["Plan"]
            pages = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
            found.append((float(pages), float(plan["Planning Time"] + plan["Execution Time"])))
        answers[name] = (found[-1][0], statistics.median(ms for _, ms in found))
    return answers


async def _pack(connection: asyncpg.Connection) -> None:
    while await connection.fetchval("SELECT internal.pack_minutes(500, date_trunc('day', now()))"):
        pass
    await connection.execute("VACUUM internal.packed_1m, internal.minute")


async def _fill(
    connection: asyncpg.Connection, series: int, start: datetime, hours: int, metrics: int
) -> int:
    """Minutes of metrics of so many series each, all series of a metric of one kind; how many."""
    values = mixed_values(hours * 3_600_000 // STEP_MS, shuffled=False)
    groups = range(0, len(values), series)
    step = max(1, len(groups) // metrics)
    rows = [
        row
        for metric_id, first in enumerate(list(groups)[::step][:metrics], 1)
        for row in _minutes(metric_id, values[first : first + series], start)
    ]
    rows.sort(key=lambda row: (row[1], row[0]))
    result = await connection.copy_records_to_table(
        "stored_1m", schema_name="internal", records=rows,
        columns=["metric_id", "bucket", "samples", "sum", "min", "max", "last_key"],
    )  # fmt: skip
    assert result == f"COPY {len(rows)}"
    return len(rows)


def _minutes(metric_id: int, values: Float64s, start: datetime) -> Iterator[tuple[object, ...]]:
    """Rows of stored_1m of a metric; shape of values (series, points)."""
    by_minute = values.reshape(len(values), -1, A_MINUTE)
    low, high = by_minute.min(axis=(0, 2)).tolist(), by_minute.max(axis=(0, 2)).tolist()
    last = by_minute[-1, :, -1].tolist()
    since = (start - datetime(2000, 1, 3, tzinfo=UTC)).total_seconds() + 59.25
    for minute in range(by_minute.shape[1]):
        total = sum(map(_decimal, by_minute[:, minute].ravel().tolist()), Decimal(0))
        yield (
            metric_id, start + timedelta(minutes=minute), by_minute[:, minute].size, total,
            low[minute], high[minute],
            [since + 60 * minute, float(10 * metric_id), last[minute]],
        )  # fmt: skip


def _decimal(value: float) -> Decimal:
    return Decimal(int(value)) if value.is_integer() else Decimal(repr(value))
