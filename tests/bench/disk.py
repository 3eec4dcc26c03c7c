"""Bytes a sample takes on disk: on TimescaleDB, its chunk compressed, and on plain PostgreSQL, as a
row and in a block, of several mixes and steps, and of what a real Prometheus scrapes of itself.

Without a server of PROMGRES_TEST_TIMESCALEDB_URL TimescaleDB runs in PGlite, whose tables, and so
their sizes, are those of any PostgreSQL. A block has six hours or less: BENCH_DISK_HOURS = 12 says
what 720 say; `month` has days.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import numpy as np

from ingest.copy_samples import encode_samples
from ingest.logs import configure_logs
from ingest.migrate import migrate
from ingest.model import Float64s, Int64s, Rows
from ingest.promql.values import STALE
from ingest.storage.engine import to_datetime
from tests.bench.raw import copy_payload
from tests.support.blocks import pack, switch_on
from tests.support.databases import Database
from tests.support.hours import make_hours
from tests.support.install import pglite_installed
from tests.support.native_timescaledb import NATIVE_URL, NativeServer
from tests.support.postgres import start_cluster
from tests.support.senders import prometheus
from tests.support.stack import running_stack
from tests.support.timescaledb import PgliteServer

HOURS = 4.0
PACKED_HOURS = float(os.environ.get("BENCH_DISK_HOURS", "12"))
SCRAPE_SECONDS = float(os.environ.get("BENCH_DISK_SCRAPE_SECONDS", "45"))
UNPACKED = """
SELECT EXISTS (SELECT FROM internal.hot) OR EXISTS (SELECT FROM internal.late)
    OR EXISTS (SELECT FROM internal.retired)
"""
SERIES = 1000
STEP_MS = 15_000
POINTS_A_COPY, POINTS_A_MIX = 50, 5760
KINDS = {"zero": 0.4, "counter": 0.25, "constant": 0.1, "bytes": 0.1, "noise": 0.15}
"""Share of the series: always 0, requests counted, constants (limits, build information), memory in
pages, and gauges all of whose bits are noise."""

RECORDED = {
    "zero": 0.39, "constant": 0.25, "counter": 0.2, "small": 0.06, "decimal": 0.04, "noise": 0.03,
    "stale": 0.03,
}  # fmt: skip
"""The same of 23,081 recorded samples: gauges of small whole numbers, of nine decimals, and series
of which each third sample is none."""

LAYOUTS: dict[str, tuple[dict[str, float], int, int, float]] = {
    "_15_minutes": (KINDS, 900_000, 0, 14 * 24),
    "_60_seconds": (KINDS, 60_000, 0, 24),
    "_with_jitter": (KINDS, STEP_MS, 5, PACKED_HOURS),
    "_recorded_mix": (RECORDED, STEP_MS, 0, PACKED_HOURS),
    "": (KINDS, STEP_MS, 0, PACKED_HOURS),
}
"""Of what is packed, from the oldest to the newest: how its figure is named, what it is made of,
milliseconds between samples, and of jitter, hours."""

STORED_BYTES = """
SELECT sum(pg_total_relation_size(p.relid))::float8
FROM unnest(CASE $1::text WHEN 'hot' THEN ARRAY['internal.hot'] ELSE
    ARRAY['internal.late', 'internal.block', 'internal.long_block'] END) AS t (name)
CROSS JOIN LATERAL pg_partition_tree(t.name::regclass) AS p
"""
IRREGULAR = """
SELECT coalesce(avg((step_ms IS NULL)::int), 0)::float8 FROM internal.block
WHERE first_time >= $1 AND first_time < $2
"""
TREE_BYTES = """
SELECT sum(pg_total_relation_size(coalesce(p.relid, t.id)))::float8
FROM unnest($1::text[]::regclass[]) AS t (id) LEFT JOIN LATERAL pg_partition_tree(t.id) AS p ON true
"""
"""A table that is not partitioned has no tree."""
MINUTES, SERIES_HOURS = ["internal.stored_1m", "internal.packed_1m"], ["internal.series_hours"]
SERIES_BYTES = """
SELECT pg_total_relation_size('internal.series')::float8 / count(*) FROM internal.series
"""
HISTOGRAM_SERIES, BUCKETS = 10, 20
HISTOGRAM_ROWS = ["internal.histogram_row"]
HISTOGRAM_BLOCK_BYTES = "SELECT pg_total_relation_size('internal.histogram_block')"
RESOLVE = """
SELECT count(*) FROM internal.resolve_series(
    ARRAY(SELECT decode(lpad(to_hex(n), 32, '0'), 'hex') FROM generate_series(1, $1::int) AS n),
    array_fill(1, ARRAY[$1]), array_fill('internal'::text, ARRAY[$1]),
    ARRAY(SELECT 'metric_' || n % 100 FROM generate_series(1, $1) AS n),
    array_fill('common'::text, ARRAY[$1]),
    ARRAY(SELECT jsonb_build_object('__name__', 'metric_' || n % 100, 'job', 'node', 'instance',
        'host-' || n % 7 || '.example:9100', 'path', '/api/v1/' || n, 'code', '200',
        'method', 'GET', 'pod', 'pod-' || md5(n::text), 'cluster', 'eu-1', 'le', '0.5')::text
        FROM generate_series(1, $1) AS n))
"""
SCRAPED = """
SELECT array_agg((extract(epoch FROM time) * 1000)::bigint ORDER BY time) AS times,
    array_agg(value ORDER BY time) AS values
FROM internal.sample WHERE exact IS NULL GROUP BY series_id
"""
ENSURE = "SELECT internal.ensure_partitions('internal', $1, $2)"
COUNT = "SELECT count(*) FROM internal.sample"
COMPRESS = "SELECT count(compress_chunk(chunk)) FROM show_chunks('internal.sample') AS chunk"
HYPERTABLE_BYTES = "SELECT hypertable_size('internal.sample')"


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
    if url := os.environ.get(NATIVE_URL):
        with NativeServer(url) as native, native.lend(migrated=False, workers=False) as lent:
            yield Database(lent, "timescaledb")
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
    """Heap, TOAST and indexes of each layout by itself; then of what is beside samples."""
    connection = await _migrated(database)
    figures: dict[str, float] = {}
    scraped = await asyncio.to_thread(_scraped)
    try:
        await switch_on(connection)
        await connection.fetchval(RESOLVE, SERIES)
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        begins = midnight - timedelta(days=midnight.weekday() + 14 * (len(LAYOUTS) + 1))
        if scraped:
            _, packed, irregular = await _packed(connection, begins, [_replayed(*scraped, begins)])
            figures["postgres_packed_scraped_bytes_per_sample"] = packed
            figures["postgres_scraped_irregular_blocks_share"] = irregular
        for name, (mix, step_ms, jitter_ms, hours) in LAYOUTS.items():
            begins += timedelta(days=14)
            made = batches(begins, mix, step_ms, jitter_ms, hours)
            rows, packed, irregular = await _packed(connection, begins, made)
            if not name:
                figures["postgres_bytes_per_sample"] = rows
            figures[f"postgres_packed{name}_bytes_per_sample"] = packed
            if jitter_ms:
                figures[f"postgres{name}_irregular_blocks_share"] = irregular
        figures |= await _histograms(connection, begins)
        return figures | await _beside(connection, begins, int(PACKED_HOURS * 240) * SERIES)
    finally:
        await connection.close()


async def _packed(
    connection: asyncpg.Connection, begins: datetime, batches: Iterable[Rows]
) -> tuple[float, float, float]:
    """Bytes a sample as rows and in blocks, and which share of the blocks has no step."""
    before = [await connection.fetchval(STORED_BYTES, part) for part in ("hot", "block")]
    samples = 0
    for rows in batches:
        period = [to_datetime(int(each)) for each in
                  (rows.timestamp_ms.min(), rows.timestamp_ms.max())]  # fmt: skip
        await connection.execute(ENSURE, *period)
        await copy_payload(connection, encode_samples(rows), "internal", "hot")
        samples += len(rows.series_id)
    hot = await connection.fetchval(STORED_BYTES, "hot")
    while await connection.fetchval(UNPACKED):  # some partition waits for an autovacuum
        await pack(connection, begins + timedelta(days=14))
    await connection.execute("VACUUM")
    packed = await connection.fetchval(STORED_BYTES, "block")
    irregular = await connection.fetchval(IRREGULAR, begins, begins + timedelta(days=14))
    return (hot - before[0]) / samples, (packed - before[1]) / samples, irregular


async def _histograms(connection: asyncpg.Connection, begins: datetime) -> dict[str, float]:
    """Bytes of a native histogram of 20 buckets, every 15 s for a day, as a row and packed."""
    points, random = 5760, np.random.default_rng(6)
    await connection.execute(
        "SELECT internal.ensure_partitions('histogram', $1::timestamptz, $1 + interval '23 hours')",
        begins,
    )
    for series in range(1, HISTOGRAM_SERIES + 1):
        rates = random.lognormal(0, 1.5, BUCKETS)
        counts = random.poisson(rates, (points, BUCKETS)).cumsum(axis=0).astype(np.float64)
        sums = random.gamma(2, 1, points).cumsum()
        indexes = list(range(-8, BUCKETS - 8))
        await connection.copy_records_to_table(
            "histogram",
            schema_name="staging_internal",
            records=[
                (begins + n * timedelta(milliseconds=STEP_MS), series, 3, False, False, sum(row),
                 float(sums[n]), 2.0**-128, 0.0, indexes, row, [], [], None, 0, None, None)
                for n, row in enumerate(counts.tolist())
            ],
        )  # fmt: skip
    rows = await connection.fetchval(TREE_BYTES, HISTOGRAM_ROWS)
    while await connection.fetchval("SELECT internal.pack_histograms(p_quiet => '0')"):
        pass
    packed = await connection.fetchval(HISTOGRAM_BLOCK_BYTES)
    histograms = HISTOGRAM_SERIES * points
    assert await connection.fetchval("SELECT count(*) FROM internal.histogram") == histograms
    return {
        "postgres_bytes_per_histogram": rows / histograms,
        "postgres_packed_bytes_per_histogram": packed / histograms,
    }


async def _beside(
    connection: asyncpg.Connection, begins: datetime, samples: int
) -> dict[str, float]:
    """Minutes, hours of series and the catalogue, of a hundred metrics, for each sample."""
    await connection.execute(
        "SELECT internal.mark_period($1::timestamptz, $1 + interval '30 days')", begins
    )
    while await connection.fetchval("SELECT internal.rollup_work('1 day')"):
        pass
    rows = await connection.fetchval(TREE_BYTES, MINUTES)
    while await connection.fetchval("SELECT internal.pack_minutes()"):
        pass
    await make_hours(connection, datetime.now(UTC))
    await connection.execute("VACUUM FULL internal.stored_1m")  # as it is when time has gone by
    sizes = {
        "minutes_as_rows": rows,
        "minutes": await connection.fetchval(TREE_BYTES, MINUTES),
        "series_hours": await connection.fetchval(TREE_BYTES, SERIES_HOURS),
    }
    figures = {f"postgres_{name}_bytes_per_sample": size / samples for name, size in sizes.items()}
    return figures | {
        "postgres_catalogue_bytes_per_series": await connection.fetchval(SERIES_BYTES)
    }


def _scraped() -> tuple[Int64s, list[Float64s]] | None:
    """What Debian's Prometheus scrapes of itself once a second: deviations from whole seconds in
    milliseconds, and the values of each series that was there all the time."""
    if not shutil.which("prometheus"):
        return None
    with running_stack() as stack, tempfile.TemporaryDirectory() as folder:
        with prometheus(Path(folder), stack.write_url, {}) as sender:
            time.sleep(SCRAPE_SECONDS)
            sender.stop_scraping()
        rows = asyncio.run(_fetched(stack.database_url))
    points = max(len(row["times"]) for row in rows) - 2
    kept = [row for row in rows if len(row["times"]) >= points]
    times = np.array(kept[0]["times"][:points], np.int64)
    deviations = times - times[0] - np.arange(points) * 1000
    return deviations, [np.array(row["values"][:points]) for row in kept]


async def _fetched(url: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(SCRAPED))
    finally:
        await connection.close()


def _replayed(deviations: Int64s, values: list[Float64s], begins: datetime) -> Rows:
    """Twelve hours of it, a scrape every 15 s: again and again, while counters go on."""
    points = 2880
    rounds = -(-points // len(deviations))
    times = np.arange(points) * STEP_MS + np.tile(deviations, rounds)[:points]
    repeated = []
    for each in values:
        gain = each[-1] - each[0] if np.all(np.diff(each) >= 0) else 0
        repeated.append(np.concatenate([each + gain * n for n in range(rounds)])[:points])
    first_ms = int(begins.timestamp() * 1000) + STEP_MS
    series_id = np.repeat(np.arange(1, len(values) + 1), points)
    return Rows(series_id, np.tile(first_ms + times, len(values)), np.concatenate(repeated))


async def _migrated(database: Database) -> asyncpg.Connection:
    await migrate(database.url, database.settings())
    connection = await asyncpg.connect(
        database.url, statement_cache_size=database.statement_cache_size
    )
    stored = await connection.fetchval(COUNT)
    assert not stored, f"{stored} samples are there already: the database has to be empty"
    return connection


async def _fill(connection: asyncpg.Connection, begins: datetime) -> int:
    """COPY all rows through staging; how many there are."""
    samples = 0
    for rows in batches(begins, KINDS, STEP_MS, 0, HOURS):
        await copy_payload(connection, encode_samples(rows), "staging_internal", "sample")
        samples += len(rows.series_id)
    assert await connection.fetchval(COUNT) == samples
    return samples


def batches(
    begins: datetime, mix: dict[str, float], step_ms: int, jitter_ms: int, hours: float
) -> Iterator[Rows]:
    """As the daemon makes them."""
    points = int(hours * 3_600_000 / step_ms)
    for day in range(0, points, POINTS_A_MIX):
        values = mixed_values(min(POINTS_A_MIX, points - day), mix=mix)
        for first in range(0, values.shape[1], POINTS_A_COPY):
            batch = values[:, first : first + POINTS_A_COPY]
            first_ms = int(begins.timestamp() * 1000) + (day + first) * step_ms
            yield rows_of(batch, first_ms, step_ms, jitter_ms)


def _start() -> datetime:
    """A midnight from which the hours are over."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def rows_of(
    values: Float64s, first_ms: int, step_ms: int, jitter_ms: int, first_series: int = 1
) -> Rows:
    """A batch in the order of the writer: by series, then by time. `values`: (series, points)."""
    series, points = values.shape
    series_id = np.repeat(np.arange(first_series, first_series + series), points)
    scraped_at = series_id * 7919 % STEP_MS  # every series has its moment within the interval
    timestamp_ms = first_ms + scraped_at + np.tile(np.arange(points) * step_ms, series)
    if jitter_ms:
        timestamp_ms += np.random.default_rng(5).integers(0, jitter_ms, len(timestamp_ms))
    return Rows(series_id, timestamp_ms, values.reshape(-1))


def mixed_values(
    points: int, *, shuffled: bool = True, mix: dict[str, float] = KINDS, seed: int = 4
) -> Float64s:
    """What 1,000 series say, shape (series, points); kinds are mixed among the series, whatever the
    seed, or one after the other."""
    random = np.random.default_rng(seed)
    values = np.concatenate(
        [_of_kind(kind, round(share * SERIES), points, random) for kind, share in mix.items()]
    )
    return np.random.default_rng(4).permutation(values) if shuffled else values


def _of_kind(kind: str, series: int, points: int, random: np.random.Generator) -> Float64s:
    shape = (series, points)
    match kind:
        case "zero":
            return np.zeros(shape)
        case "counter":
            rates = random.uniform(0.01, 300, (series, 1))
            return random.poisson(rates, shape).cumsum(axis=1).astype(np.float64)
        case "constant":
            constants = random.integers(1, 10**6, (series, 1))
            return np.repeat(constants, points, axis=1).astype(np.float64)
        case "bytes":
            return (100_000 + random.integers(-50, 51, shape).cumsum(axis=1)) * 4096.0
        case "small":
            return random.integers(0, 50, shape).astype(np.float64)
        case "decimal":
            return np.round(random.normal(0.5, 0.05, shape), 9)
        case "stale":
            return np.where(np.arange(points) % 3, np.ones(shape), STALE)
    return random.normal(0.5, 0.05, shape)
