"""What heavy readers cost ingestion, and a small question beside them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import asyncpg

from ingest.load.sender import Load, Senders
from tests.support.stack import Stack, running_stack

ROUNDS = 5
SECONDS = 4.0
READERS = 20
SENDERS = 4
SERIES = 8000
HEAVY = """
CREATE FUNCTION api.heavy() RETURNS bigint LANGUAGE sql STABLE
AS $$ SELECT count(*) FROM generate_series(1, 100000000000) AS i WHERE sqrt(i) > 1 $$;
GRANT EXECUTE ON FUNCTION api.heavy() TO web_anon"""


def run() -> dict[str, float]:
    """Ingestion beside readers whose questions take all of their time, in turns with ingestion
    alone, and how long a small question takes meanwhile."""
    with running_stack() as stack:
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> dict[str, float]:
    connection = await asyncpg.connect(stack.database_url)
    await connection.execute(HEAVY)
    await connection.close()
    await _ingest(stack)  # its series are known from here on
    ratios: list[float] = []
    small_ms: list[float] = []
    for _ in range(ROUNDS):
        alone = await _ingest(stack)
        async with _readers(stack):
            asking = asyncio.create_task(_ask(stack, small_ms))
            beside = await _ingest(stack)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
        ratios.append(beside / alone)
    return {
        "ingest_beside_heavy_readers_ratio": statistics.median(ratios),
        "small_read_beside_heavy_readers_p99_ms": statistics.quantiles(small_ms, n=100)[98],
    }


async def _ingest(stack: Stack) -> float:
    """Samples a second."""
    load = Load(stack.write_url, series=SERIES, senders=SENDERS, duration_seconds=SECONDS)
    report = await Senders(load).run()
    assert report.acknowledged == report.sent, report.last_error
    return report.rate


@asynccontextmanager
async def _readers(stack: Stack) -> AsyncIterator[None]:
    """Twenty, who ask again as soon as they have their answer."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def read() -> None:
            while True:
                async with session.get(f"{stack.read_url}heavy") as answer:
                    await answer.read()

        tasks = [asyncio.create_task(read()) for _ in range(READERS)]
        await asyncio.wait(tasks, timeout=1)  # each has been in the quick lane by then
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(stack: Stack, milliseconds: list[float]) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            began = time.monotonic()
            async with session.get(f"{stack.read_url}get_excluded_addresses") as answer:
                assert answer.status == 200
                await answer.read()
            milliseconds.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(0.02)
