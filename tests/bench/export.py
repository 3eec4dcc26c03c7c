"""A year of minutes of one metric by `/export`: processor time of the read side and of its backends
together, and how much memory the read side takes for it."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta

import aiohttp
import asyncpg
import psutil

from ingest.export.request import MEDIA
from tests.bench.year import fill
from tests.support.processes import child, cpu_seconds
from tests.support.stack import Stack, running_stack

DAYS = int(os.environ.get("BENCH_EXPORT_DAYS", "365"))
BACKENDS = """
SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'promgres api%'"""
LOOK_EVERY_SECONDS = 0.02


def run() -> dict[str, float]:
    """Every format, one after the other."""
    with running_stack() as stack:
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> dict[str, float]:
    connection = await asyncpg.connect(stack.database_url)
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = end - timedelta(days=DAYS)
    await fill(connection, start, end, 1)
    await connection.execute("VACUUM ANALYZE")
    api = psutil.Process(child(stack.program.pid, "promgres api").pid)
    url = f"{stack.read_url.removesuffix('rpc/')}export"
    figures: dict[str, float] = {}
    async with aiohttp.ClientSession() as session:
        async with session.get(url, params={"metric": "year_0"}) as answer:  # connections are made
            assert answer.status == 200
        for form in MEDIA:
            query = {"metric": "year_0", "format": form, "from": start.isoformat(), "to": str(end)}
            backends = [psutil.Process(row["pid"]) for row in await connection.fetch(BACKENDS)]
            before, idle = cpu_seconds(api, *backends), api.memory_info().rss
            watching = asyncio.create_task(_peak(api))
            length = 0
            async with session.get(url, params=query) as answer:
                async for piece in answer.content.iter_chunked(1 << 20):
                    length += len(piece)
            watching.cancel()
            name = f"export_year_of_minutes_{form}"
            figures[f"{name}_cpu_seconds"] = cpu_seconds(api, *backends) - before
            figures[f"{name}_memory_mib"] = (await watching - idle) / 2**20
            figures[f"{name}_mib"] = length / 2**20
    await connection.close()
    return figures


async def _peak(process: psutil.Process) -> int:
    """The most memory that it had, in bytes, until it is cancelled."""
    most = 0
    try:
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    except asyncio.CancelledError:
        return most
