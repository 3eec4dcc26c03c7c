"""Old samples, 10,000 a request, in time order and in shuffled order; how long packing them takes.

`BENCH_BASELINE` names another checkout, as in baseline.py, which takes the same in turns.
BENCH_BACKFILL_SAMPLES = 10000000 is what the design asks for.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import cramjam
import numpy as np

from ingest.load.requests import series_bytes
from tests.support import series_bytes as wire
from tests.support.blocks import pack
from tests.support.metrics import Metrics
from tests.support.processes import wait_until
from tests.support.remote_write import send
from tests.support.stack import Stack, running_stack

SAMPLES = int(os.environ.get("BENCH_BACKFILL_SAMPLES", "1000000"))
SERIES = 1000
POINTS = 10
"""Samples of each series a request."""
STEP_MS = 15_000
SENDERS = 4
PACKED = """
SELECT coalesce(sum(count), 0)::bigint
FROM (SELECT count FROM internal.block UNION ALL SELECT count FROM internal.long_block) AS b
"""
SAMPLE = np.dtype(
    [("head", "S3"), ("value", "<f8"), ("timestamp_tag", "u1"), ("timestamp", "u1", 6)]
)


def run() -> dict[str, float]:
    """Samples a second, and how much slower than the median the slowest request was."""
    baseline = os.environ.get("BENCH_BASELINE")
    figures: dict[str, float] = {}
    for order in ("in_order", "shuffled"):
        with running_stack(PROMGRES_STORAGE__PACK="true") as stack:
            found = asyncio.run(_measure(stack, order))
            figures |= found | asyncio.run(_packing(stack, order))
        if baseline:
            with running_stack(Path(baseline).absolute() / ".venv/bin/promgres") as stack:
                theirs = asyncio.run(_measure(stack, order))
            rate = f"backfill_{order}_samples_per_second"
            figures[f"backfill_{order}_to_baseline_ratio"] = found[rate] / theirs[rate]
    return figures


async def _packing(stack: Stack, order: str) -> dict[str, float]:
    """All of it that is over, as the worker does it, without its waiting for quiet."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        before = datetime.now(UTC) - timedelta(hours=1)
        began = time.perf_counter()
        await pack(connection, before)
        seconds = time.perf_counter() - began
        packed = await connection.fetchval(PACKED)
    finally:
        await connection.close()
    await _check(stack, SAMPLES // (SERIES * POINTS) * SERIES * POINTS)
    return {
        f"backfill_{order}_packing_seconds": seconds,
        f"backfill_{order}_packed_samples": packed,
    }


async def _measure(stack: Stack, order: str) -> dict[str, float]:
    requests = SAMPLES // (SERIES * POINTS)
    start_ms = time.time_ns() // 1_000_000 - requests * POINTS * STEP_MS - 3_600_000
    starts = [start_ms + number * POINTS * STEP_MS for number in range(requests)]
    if order == "shuffled":
        random.Random(7).shuffle(starts)
    took: list[float] = []
    queue: Iterator[int] = iter(starts)

    def stream() -> None:
        for first_ms in queue:
            body = _body(first_ms)
            began = time.perf_counter()
            while (answer := send(stack.write_url, body)).status == 503:  # come again
                time.sleep(0.2)
            took.append(time.perf_counter() - began)
            assert answer.status == 204, answer

    began = time.perf_counter()
    await asyncio.gather(*[asyncio.to_thread(stream) for _ in range(SENDERS)])
    seconds = time.perf_counter() - began
    await _check(stack, requests * SERIES * POINTS)
    return {
        f"backfill_{order}_samples_per_second": requests * SERIES * POINTS / seconds,
        f"backfill_{order}_slowest_to_median_ratio": max(took) / statistics.median(took),
    }


async def _check(stack: Stack, samples: int) -> None:
    """All of it is there once, also what was spooled for a while, and staging is small."""
    address = urlsplit(stack.write_url).netloc
    await asyncio.to_thread(wait_until, lambda: Metrics(address).at_rest, 600)
    connection = await asyncpg.connect(stack.database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM internal.sample") == samples
        staged = await connection.fetchval("SELECT pg_relation_size('staging_internal.sample')")
        assert staged <= 128 << 20, staged
    finally:
        await connection.close()


def _body(first_ms: int) -> bytes:
    """Every series with POINTS samples from a moment on."""
    samples = np.zeros(POINTS, SAMPLE)
    samples["head"] = b"\x12\x10\x09"
    samples["value"] = np.arange(1, POINTS + 1) + first_ms % 1009
    samples["timestamp_tag"] = 0x10
    times = [first_ms + point * STEP_MS for point in range(POINTS)]
    samples["timestamp"] = [list(wire.varint(timestamp_ms)) for timestamp_ms in times]
    tail = samples.tobytes()
    message = b"".join(wire.field(1, labels + tail) for labels in _LABELS)
    return bytes(cramjam.snappy.compress_raw(message))


_LABELS = [series_bytes("backfill", number) for number in range(SERIES)]
