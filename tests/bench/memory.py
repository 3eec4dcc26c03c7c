"""Memory of the write side for each active series."""

from __future__ import annotations

import asyncio
import os
import time

import psutil

from ingest.load.requests import RequestTemplate
from tests.support.processes import child
from tests.support.remote_write import send
from tests.support.stack import Stack, running_stack

SERIES = int(os.environ.get("BENCH_SERIES", "200000"))
SERIES_A_REQUEST = 5000
WARM_UP_SERIES = 20_000
ROUNDS = 3


def run() -> dict[str, float]:
    """Growth of the process from few series to many, all of them written three times."""
    with running_stack() as stack:
        writer = psutil.Process(child(stack.program.pid, "promgres ingest").pid)
        asyncio.run(_send(stack, 0, WARM_UP_SERIES))
        before = writer.memory_info().rss
        asyncio.run(_send(stack, WARM_UP_SERIES, SERIES))
        grown = writer.memory_info().rss - before
    return {
        "daemon_series": SERIES,
        "daemon_bytes_per_series": grown / SERIES,
        "daemon_base_mib": before / 2**20,
    }


async def _send(stack: Stack, first: int, series: int) -> None:
    for start in range(first, first + series, SERIES_A_REQUEST):
        template = RequestTemplate(start, min(SERIES_A_REQUEST, first + series - start))
        for _ in range(ROUNDS):
            body = template.body(time.time_ns() // 1_000_000)
            answer = await asyncio.to_thread(send, stack.write_url, body)
            assert answer.status == 204, answer
