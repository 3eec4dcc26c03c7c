"""Bytes a sample takes on disk: on TimescaleDB, its chunk compressed, and on plain PostgreSQL, as a
row and in a block, of regular steps and of others.

The same rows on both, through staging, in batches as the daemon makes them. BENCH_TIMESCALEDB_URL
is an empty database of a real server (it is migrated, and the rows stay there); without it
TimescaleDB runs in PGlite, whose tables, and so their sizes, are those of any PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import numpy as np

from ingest.copy_samples import encode_samples
from ingest.logs import configure_logs
from ingest.migrate import migrate
from ingest.model import Float64s, Rows
from tests.bench.raw import copy_payload
from tests.support.blocks import pack, switch_on
from tests.support.databases import Database
from tests.support.install import pglite_installed
from tests.support.postgres import start_cluster
from tests.support.timescaledb import PgliteServer

HOURS = float(os.environ.get("BENCH_DISK_HOURS", "4"))
TIMESCALEDB_URL = os.environ.get("BENCH_TIMESCALEDB_URL")
UNPACKED = """
SELECT EXISTS (SELECT FROM internal.hot) OR EXISTS (SELECT FROM internal.late)
    OR EXISTS (SELECT FROM internal.retired)
"""
SERIES = 1000
STEP_MS = 15_000
POINTS_A_COPY = 50
KINDS = {"zero": 0.4, "counter": 0.25, "constant": 0.1, "bytes": 0.1, "noise": 0.15}
"""Share of the series: always 0, requests counted, constants (limits, build information), memory in
pages, and gauges all of whose bits are noise."""

LAYOUTS: dict[str, tuple[int, int]] = {
    "": (STEP_MS, 0),
    "_with_jitter": (STEP_MS, 5),
    "_15_minutes": (900_000, 0),
}
"""Of what is packed: how its figure is named, milliseconds between samples, and of jitter."""

ENSURE = "SELECT internal.ensure_partitions('internal', $1, $2)"
COUNT = "SELECT count(*) FROM internal.sample"
COMPRESS = "SELECT count(compress_chunk(chunk)) FROM show_chunks('internal.sample') AS chunk"
HYPERTABLE_BYTES = "SELECT hypertable_size('internal.sample')"
PARTITIONS_BYTES = """
SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_partition_tree($1::text::regclass)
"""


def run() -> dict[str, float]:
    """Bytes a sample, indexes included; nothing of TimescaleDB where there is none."""
    configure_logs("warning", "text")
    figures: dict[str, float] = {}
    with _timescaledb() as database:
        if database:
            figures |= asyncio.run(_measure_timescaledb(database))
    cluster = start_cluster()
    try:
        database = Database(cluster.url("postgres"), "postgres")
        figures |= asyncio.run(_measure_postgres(database))
    finally:
        cluster.stop()
    return figures


@contextmanager
def _timescaledb() -> Iterator[Database | None]:
    if TIMESCALEDB_URL:
        yield Database(TIMESCALEDB_URL, "timescaledb")
        return
    if not pglite_installed():
        yield None
        return
    with tempfile.TemporaryDirectory() as logs:
        server = PgliteServer(Path(logs)).open()
        try:
            yield Database(server.url, "timescaledb", one_session=True)
        finally:
            server.stop()


async def _measure_timescaledb(database: Database) -> dict[str, float]:
    connection = await _migrated(database)
    try:
        samples = await _fill(connection, _start())
        before = await connection.fetchval(HYPERTABLE_BYTES)
        assert await connection.fetchval(COMPRESS) >= 1
        after = await connection.fetchval(HYPERTABLE_BYTES)
    finally:
        await connection.close()
    return {
        "timescaledb_bytes_per_sample": after / samples,
        "timescaledb_uncompressed_bytes_per_sample": before / samples,
    }


async def _measure_postgres(database: Database) -> dict[str, float]:
    """Heap, TOAST and indexes; blocks of a step of 15 s, then the same with 5 ms of jitter beside
    them, then 15 minutes."""
    connection = await _migrated(database)
    figures: dict[str, float] = {}
    try:
        await switch_on(connection)
        before = 0.0
        for number, (name, (step_ms, jitter_ms)) in enumerate(LAYOUTS.items()):
            hours = HOURS * step_ms / STEP_MS
            begins = _start(hours) - number * timedelta(days=14)
            await connection.execute(ENSURE, begins, begins + timedelta(hours=hours))
            samples = await _fill(connection, begins, step_ms, jitter_ms)
            if not number:
                rows = await connection.fetchval(PARTITIONS_BYTES, "internal.hot")
                figures["postgres_bytes_per_sample"] = float(rows) / samples
            while await connection.fetchval(UNPACKED):  # some partition waits for an autovacuum
                await pack(connection, datetime.now(UTC) + timedelta(days=1))
            now = sum(
                [float(await connection.fetchval(PARTITIONS_BYTES, f"internal.{table}"))
                 for table in ("late", "block")]
            )  # fmt: skip
            figures[f"postgres_packed{name}_bytes_per_sample"] = (now - before) / samples
            before = now
        return figures
    finally:
        await connection.close()


async def _migrated(database: Database) -> asyncpg.Connection:
    await migrate(database.url, database.settings())
    connection = await asyncpg.connect(
        database.url, statement_cache_size=database.statement_cache_size
    )
    stored = await connection.fetchval(COUNT)
    assert not stored, f"{stored} samples are there already: the database has to be empty"
    return connection


async def _fill(
    connection: asyncpg.Connection, begins: datetime, step_ms: int = STEP_MS, jitter_ms: int = 0
) -> int:
    """COPY all rows through staging; how many there are."""
    values = mixed_values(int(HOURS * 3_600_000 / STEP_MS))
    start_ms = int(begins.timestamp() * 1000)
    stored = await connection.fetchval(COUNT)
    for first in range(0, values.shape[1], POINTS_A_COPY):
        batch = values[:, first : first + POINTS_A_COPY]
        payload = encode_samples(_rows(batch, start_ms + first * step_ms, step_ms, jitter_ms))
        await copy_payload(connection, payload, "staging_internal", "sample")
    assert await connection.fetchval(COUNT) == stored + values.size
    return values.size


def _start(hours: float = HOURS) -> datetime:
    """A moment from which the hours are over, and in one day if they can be."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=1 + hours // 24)


def _rows(values: Float64s, first_ms: int, step_ms: int, jitter_ms: int) -> Rows:
    """A batch in the order of the writer: by series, then by time."""
    series, points = values.shape
    series_id = np.repeat(np.arange(1, series + 1), points)
    scraped_at = series_id * 7919 % STEP_MS  # every series has its moment within the interval
    timestamp_ms = first_ms + scraped_at + np.tile(np.arange(points) * step_ms, series)
    if jitter_ms:
        timestamp_ms += np.random.default_rng(5).integers(0, jitter_ms, len(timestamp_ms))
    return Rows(series_id, timestamp_ms, values.reshape(-1))


def mixed_values(points: int, *, shuffled: bool = True) -> Float64s:
    """What 1,000 series say, shape (series, points); kinds are mixed among the series, or one after
    the other."""
    random = np.random.default_rng(4)
    counts = [round(share * SERIES) for share in KINDS.values()]
    zeros, counters, constants, pages, noisy = [(count, points) for count in counts]
    rates = random.uniform(0.01, 300, (counters[0], 1))
    values = np.concatenate(
        [
            np.zeros(zeros),
            random.poisson(rates, counters).cumsum(axis=1),
            np.broadcast_to(random.integers(1, 10**6, (constants[0], 1)), constants),
            (100_000 + random.integers(-50, 51, pages).cumsum(axis=1)) * 4096,
            random.normal(0.5, 0.05, noisy),
        ]
    ).astype(np.float64)
    return random.permutation(values) if shuffled else values
