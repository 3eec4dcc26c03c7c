"""Four times what the database takes: senders hear 204 or 503, in time, and memory stays as it is.

`PROMGRES_OVERLOAD_SECONDS` (5) says for how long; `make faults` takes 180. The database is made
slow, so that it is the database that cannot keep up on any machine, and not the test.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.faults.open_loop import OpenLoop
from tests.support.databases import Database, blocking, connect, execute
from tests.support.metrics import Metrics
from tests.support.processes import wait_until
from tests.support.remote_write import WriteSide, write_side

SECONDS = float(os.environ.get("PROMGRES_OVERLOAD_SECONDS", "5"))
SERIES = 2000
TIMES = 4
MEASURE_SECONDS = 2.0
AFTER_SECONDS = min(10.0, SECONDS)
ANSWER_SECONDS = 25.0
"""What is promised for every answer."""
STILL_BYTES = 48 * 1024 * 1024
"""So much more memory at the end than in the middle counts as flat: a few bodies more or less."""

SLOW = """
CREATE FUNCTION public.be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..500 LOOP NULL; END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER be_slow BEFORE INSERT ON internal.hot
    FOR EACH ROW EXECUTE FUNCTION public.be_slow();
"""

pytestmark = pytest.mark.timeout(300 + 3 * SECONDS)


def test_overload(postgres_db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with write_side(postgres_db) as side, watched_memory(side) as memory:
        loop = OpenLoop(side.url, SERIES, "overload", time.time_ns() // 1_000_000 - 3_600_000)
        asyncio.run(loop.send(1, 1))
        blocking(execute(postgres_db.url, SLOW))
        capacity = asyncio.run(measure(side))
        asyncio.run(loop.send(TIMES * capacity / SERIES, SECONDS))
        answers = dict(loop.statuses)
        after = asyncio.run(measure(side, AFTER_SECONDS))

        # What the database is slow with goes into the spool: on a slow machine that may be all.
        assert "204" in answers
        assert answers.keys() <= {"204", "503"}, (answers, loop.reasons)
        assert loop.slowest_seconds < ANSWER_SECONDS
        half = len(memory) // 2
        assert max(memory[half:]) - max(memory[:half]) < STILL_BYTES
        wait_until(lambda: Metrics(side.address).at_rest, 90, what="every sample is decided")
        Metrics(side.address).assert_balanced()
        assert blocking(missing(postgres_db, loop)) == []
        assert after > capacity / 4  # and not stuck
    with capsys.disabled():
        print(f"\noverload: {capacity:,.0f} samples/s taken, {TIMES} times that for {SECONDS} s;")
        print(f"answers {answers}, slowest {loop.slowest_seconds:.1f} s; memory in the first half")
        print(f"at most {max(memory[:half]) >> 20} MiB, in the second {max(memory[half:]) >> 20};")
        print(f"in the {AFTER_SECONDS:.0f} s after: {after:,.0f} samples/s")


async def measure(side: WriteSide, seconds: float = MEASURE_SECONDS) -> float:
    """Samples a second that are taken of senders who wait for their answers."""
    from ingest.load.sender import Load, Senders

    load = Load(side.url, series=SERIES * 8, senders=8, duration_seconds=seconds, metric="measure")
    return (await Senders(load).run()).rate


async def missing(database: Database, loop: OpenLoop) -> list[int]:
    """Acknowledged timestamps of which not every sample is stored."""
    async with connect(database) as connection:
        rows = await connection.fetch(
            "SELECT (extract(epoch FROM time) * 1000)::bigint AS ms, count(*) AS count"
            " FROM internal.sample JOIN internal.series USING (series_id)"
            " WHERE name = 'overload' GROUP BY time"
        )
    stored = {row["ms"]: row["count"] for row in rows}
    return [ms for ms in loop.acknowledged_ms if stored.get(ms) != SERIES]


@contextmanager
def watched_memory(side: WriteSide, every_seconds: float = 0.1) -> Iterator[list[int]]:
    """Resident bytes of the write side, read again and again."""
    process = psutil.Process(side.program.pid)
    memory: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every_seconds):
            memory.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        ended.set()
        watcher.join()
