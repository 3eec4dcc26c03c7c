"""What a writer learns from its batches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ingest.errors import Unavailable
from ingest.metrics import TenantNames
from ingest.model import Counts, Intake
from ingest.series.cache import SeriesCache
from ingest.stores import STORES
from ingest.writer.backlog import Backlog
from ingest.writer.batch import SampleBatch
from ingest.writer.commit import Committer
from ingest.writer.ledger import Ledger
from ingest.writer.shard import LONGEST_SECONDS, Shard
from tests.support.fake_database import POISON, FakeDatabase, FakeEngine, Fault
from tests.support.rows import rows_of
from tests.support.virtual_loop import VirtualLoop

ROWS = 5000
NOW_MS = 4_000_000_000_000
"""Never late: what rollups have to be told of late samples is asked of the database."""


class Bench:
    """One shard on a database in memory."""

    def __init__(self) -> None:
        self.database = FakeDatabase()
        ledger = Ledger(TenantNames(lambda _: "default"))
        self.backlog = Backlog(ledger.rows_in_flight, 2.0)
        cache = SeriesCache(10)
        self.committer = Committer(self.database, FakeEngine(), cache, ledger)
        self.ledger = ledger
        self.shard = Shard(self.committer, self.backlog, 50_000)

    async def write(self, first: float = 1.0, at_ms: int = NOW_MS, count: int = ROWS) -> None:
        """Put one request's rows in, the first of them of this value, and wait for their result."""
        rows = rows_of((0, at_ms, first), *[(number, at_ms, 1.0) for number in range(1, count)])
        intake = Intake(sent=Counts(samples=count))
        self.ledger.receive(intake)
        request = self.ledger.begin(intake)
        self.shard.put(request.claim(SampleBatch(STORES["internal"], rows)))
        await request.wait()
        request.outcome()

    async def settle(self) -> None:
        """Let everything happen that needs no answer of the database."""
        for _ in range(50):
            await asyncio.sleep(0)


async def test_batches_that_fail_teach_no_speed() -> None:
    """A refused connection takes no time: a hundred of them must not open the door wide."""
    bench = Bench()
    bench.database.mood = Fault.AWAY
    running = asyncio.create_task(bench.shard.run())
    limit = bench.backlog.limit_rows
    for _ in range(100):
        with pytest.raises(Unavailable):
            await bench.write()
    assert bench.backlog.limit_rows == limit
    bench.database.mood = Fault.NONE
    await bench.write()
    assert bench.backlog.limit_rows != limit
    bench.shard.close()
    await running


@pytest.mark.parametrize("faults", [[Fault.DEFECT], [Fault.NONE, Fault.DEFECT]])
async def test_a_defect_of_ours_fails_its_batch_and_no_other(faults: list[Fault]) -> None:
    """Whether it strikes the batch or the search for a culprit in it."""
    bench = Bench()
    running = asyncio.create_task(bench.shard.run())
    bench.database.faults = faults
    with pytest.raises(Unavailable, match="internal error"):
        await bench.write(first=POISON)
    await bench.write()
    bench.shard.close()
    await running


async def test_the_next_batch_is_sent_while_the_database_works_on_the_one_before() -> None:
    """One batch ahead and no more; what comes later shares the next one."""
    bench = Bench()
    bench.database.hanging = True
    running = asyncio.create_task(bench.shard.run())
    writes = []
    for number, calls in enumerate((1, 2, 2, 2)):
        writes.append(asyncio.create_task(bench.write(at_ms=NOW_MS + number)))
        await bench.settle()
        assert bench.database.calls_under_way == calls
    bench.database.release()
    await bench.settle()
    assert bench.database.calls_under_way == 1
    bench.database.hanging = False
    bench.database.release()
    await asyncio.gather(*writes)
    bench.shard.close()
    await running


async def test_small_requests_wait_for_each_other_while_a_batch_is_under_way() -> None:
    """Until they are half of it: else there would be a batch for each of them."""
    bench = Bench()
    bench.database.hanging = True
    running = asyncio.create_task(bench.shard.run())
    writes = []
    for number, (count, calls) in enumerate(((ROWS, 1), (100, 1), (100, 1), (ROWS // 2, 2))):
        writes.append(asyncio.create_task(bench.write(at_ms=NOW_MS + number, count=count)))
        await bench.settle()
        assert bench.database.calls_under_way == calls
    writes.append(asyncio.create_task(bench.write(at_ms=NOW_MS + 4, count=100)))
    await bench.settle()
    bench.database.release()
    await bench.settle()
    assert bench.database.calls_under_way == 1, "what is left waits for nothing"
    bench.database.hanging = False
    bench.database.release()
    await asyncio.gather(*writes)
    bench.shard.close()
    await running


async def test_a_worker_that_ends_lets_go_of_its_batch_and_begins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever ends it: the sender hears of it at once, and the next batch is written."""
    bench = Bench()
    running = asyncio.create_task(bench.shard.run())
    commit, struck = bench.committer.commit, 0

    async def strike(*arguments: Any) -> int:
        nonlocal struck
        struck += 1
        if struck <= 2:
            raise OSError(28, "No space left on device")
        return await commit(*arguments)

    monkeypatch.setattr(bench.committer, "commit", strike)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await bench.write()
    await bench.write()
    bench.shard.close()
    await running


def test_a_worker_that_hangs_is_begun_again() -> None:
    """The database has forgotten an answer, and the driver its time limit."""
    loop = VirtualLoop()
    try:
        bench = loop.run_until_complete(_bench())
        bench.database.hanging = True
        loop.create_task(bench.shard.run())
        first = loop.create_task(bench.write())
        loop.advance(LONGEST_SECONDS / 2)
        assert not first.done()
        loop.advance(LONGEST_SECONDS)
        assert isinstance(first.exception(), Unavailable)
        bench.database.hanging = False
        second = loop.create_task(bench.write())
        loop.advance(1)
        assert second.done()
        assert second.exception() is None
    finally:
        loop.abandon()


async def _bench() -> Bench:
    return Bench()
