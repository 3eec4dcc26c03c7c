"""Bytes a sample of BENCH_DISK_DAYS days (30 are a month) of 1,000 series every 15 s, on PostgreSQL
and on the TimescaleDB of PROMGRES_TEST_TIMESCALEDB_URL: what is cold as blocks or compressed
chunks, what is hot as rows, what stands beside. BENCH_DISK_MIXES: what the series are made of.

A day at a time is written, rolled up and packed, so that the disk holds a day of rows at most: what
the background does by and by, its own functions do here at once. Settings are the defaults.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import asyncpg

from ingest.copy_samples import encode_samples
from ingest.logs import configure_logs
from ingest.migrate import migrate
from ingest.model import Rows
from tests.bench import disk
from tests.bench.raw import copy_payload
from tests.support.blocks import pack, switch_on
from tests.support.databases import Database, connect
from tests.support.hours import make_hours
from tests.support.native_timescaledb import NATIVE_URL, NativeServer
from tests.support.postgres import start_cluster

DAYS = int(os.environ.get("BENCH_DISK_DAYS", "1"))
MIXES = {"disk": disk.KINDS, "recorded": disk.RECORDED}
MIX_NAMES = os.environ.get("BENCH_DISK_MIXES", "disk,recorded").split(",")
DAY, HOT_HOURS = timedelta(days=1), 6
DAYS_BESIDE = min(DAYS, 2)
"""How many of them are rolled up, and have hours of series: three quarters of the time that a day
takes, and one says what the other says."""
POINTS = 86_400_000 // disk.STEP_MS
SERIES_A_COPY, PATIENCE_SECONDS = 20, 3600

MARK = "SELECT internal.mark_period($1, $2)"
ROLL_UP = "SELECT internal.rollup_work('1 day', 'infinity')"
PACK_MINUTES = "SELECT internal.pack_minutes()"
REFRESH = "CALL internal.refresh_period('internal', $1, $2)"
COMPRESS = """
SELECT count(public.compress_chunk(chunk, if_not_compressed => true))
FROM public.show_chunks($1::regclass) AS chunk
"""
SIZES = {
    "postgres": {
        "hot": disk.STORED_BYTES.replace("$1", "'hot'"),
        "cold": disk.STORED_BYTES.replace("$1", "'block'"),
        "minutes": disk.TREE_BYTES.replace("$1", "'{internal.stored_1m,internal.packed_1m}'"),
    },
    "timescaledb": {
        "hot": "SELECT public.hypertable_size('internal.sample')::float8",
        "cold": "SELECT public.hypertable_size('internal.sample')::float8",
        "minutes": "SELECT public.hypertable_size('internal.parts_1m')::float8",
    },
}
"""Heap, TOAST and indexes. What is cold is asked for while nothing is hot; what is hot is what came
since."""
HOURS_BYTES = disk.TREE_BYTES.replace("$1", "'{internal.series_hours}'")


def run() -> dict[str, float]:
    """Bytes, all in; a figure a day of samples goes to the terminal as it is known."""
    configure_logs("warning", "text")
    figures: dict[str, float] = {}
    for mix in MIX_NAMES:
        cluster = start_cluster()
        try:
            figures |= asyncio.run(_measure(Database(cluster.url("postgres"), "postgres"), mix))
        finally:
            cluster.stop()
        if url := os.environ.get(NATIVE_URL):
            with NativeServer(url) as server, server.lend(migrated=True, workers=False) as lent:
                figures |= asyncio.run(_measure(Database(lent, "timescaledb"), mix))
        else:
            print(f"month: not measured on TimescaleDB, {NATIVE_URL} is not set")
    return figures


async def _measure(database: Database, mix: str) -> dict[str, float]:
    is_ours = database.engine == "postgres"
    if is_ours:
        await migrate(database.url, database.settings())
    sizes = SIZES[database.engine]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    hot_from = midnight - DAY
    async with connect(database) as connection:
        if is_ours:
            await switch_on(connection)
        await connection.fetchval(disk.RESOLVE, disk.SERIES)
        for day in range(DAYS):
            began = time.perf_counter()
            since = hot_from - (DAYS - day) * DAY
            await _write(connection, since, _day_of_series(mix, since, day), database.samples_in)
            settle = _settle_blocks if is_ours else _settle_chunks
            await settle(connection, since, beside=day < DAYS_BESIDE)
            cold = await connection.fetchval(sizes["cold"]) / ((day + 1) * POINTS * disk.SERIES)
            seconds = time.perf_counter() - began
            print(f"{database.engine} {mix} day {day + 1}: {cold:.3f} B a sample, {seconds:.0f} s")
        if is_ours:
            await connection.execute("VACUUM FULL internal.stored_1m")  # as when time has gone by
        else:
            await connection.fetchval(COMPRESS, "internal.parts_1m")
        return await _figures(connection, database, mix, hot_from)


async def _figures(
    connection: asyncpg.Connection, database: Database, mix: str, hot_from: datetime
) -> dict[str, float]:
    sizes, a_day = SIZES[database.engine], POINTS * disk.SERIES
    cold, rows = [await connection.fetchval(sizes[part]) for part in ("cold", "hot")]
    hot = list(disk.batches(hot_from, MIXES[mix], disk.STEP_MS, 0, HOT_HOURS))
    await _write(connection, hot_from, hot, database.samples_in)
    rows = await connection.fetchval(sizes["hot"]) - rows
    beside = {
        "minutes": await connection.fetchval(sizes["minutes"]),
        "series_hours": await connection.fetchval(HOURS_BYTES),
    }
    prefix = f"month_{mix}_{database.engine}"
    return {
        f"{prefix}_cold_bytes_per_sample": cold / (DAYS * a_day),
        f"{prefix}_hot_bytes_per_sample": rows / sum(len(each.series_id) for each in hot),
        **{
            f"{prefix}_{name}_bytes_per_sample": size / (DAYS_BESIDE * a_day)
            for name, size in beside.items()
        },
        f"{prefix}_catalogue_bytes_per_series": await connection.fetchval(disk.SERIES_BYTES),
    }


def _day_of_series(mix: str, since: datetime, day: int) -> Iterator[Rows]:
    """A day, some series after the other, which keys take quicker than one time after the other.
    A series is of one kind all the time; what it says begins anew each day."""
    values = disk.mixed_values(POINTS, mix=MIXES[mix], seed=day)
    first_ms = int(since.timestamp() * 1000)
    for first in range(0, disk.SERIES, SERIES_A_COPY):
        part = values[first : first + SERIES_A_COPY]
        yield disk.rows_of(part, first_ms, disk.STEP_MS, 0, first_series=first + 1)


async def _write(
    connection: asyncpg.Connection, since: datetime, batches: Iterable[Rows], table: str
) -> None:
    if table == "hot":
        await connection.execute(disk.ENSURE, since, since + DAY)
    for rows in batches:
        await copy_payload(connection, encode_samples(rows), "internal", table)


async def _settle_blocks(connection: asyncpg.Connection, since: datetime, *, beside: bool) -> None:
    await connection.execute("ANALYZE internal.hot")
    if beside:
        await connection.execute(MARK, since, since + DAY)
        while await connection.fetchval(ROLL_UP) or await connection.fetchval(PACK_MINUTES):
            pass
    while await connection.fetchval(disk.UNPACKED):
        await pack(connection, since + DAY)
        await asyncio.sleep(0.1)  # an autovacuum, maybe, is waited for
    if beside:
        await make_hours(connection, since + DAY, patience_seconds=PATIENCE_SECONDS)
    await connection.execute("VACUUM")


async def _settle_chunks(connection: asyncpg.Connection, since: datetime, *, beside: bool) -> None:
    if beside:
        await connection.execute(REFRESH, since, since + DAY)
        await make_hours(connection, since + DAY, patience_seconds=PATIENCE_SECONDS)
    await connection.fetchval(COMPRESS, "internal.sample")
    await connection.execute("VACUUM")
