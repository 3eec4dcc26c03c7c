"""Marks of late samples that a write side remembers: whatever the worker takes away meanwhile, each
sample is in the rollups in the end."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from ingest.errors import Unavailable
from ingest.storage.engine import to_ms
from tests.engines.test_remembered_samples import Sender, sender_to
from tests.support.blocks import close, switch_on
from tests.support.databases import Database, connect

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
NOON_MS = to_ms(NOON)
MARKS = "SELECT count(*) FROM internal.rollup_mark WHERE metric_id IS NOT NULL"
WORK = "SELECT internal.rollup_work('24 hours', 'infinity')"
STORED = "SELECT coalesce(sum(samples), 0)::int FROM internal.stored_1h"
ROLLED_UP = "SELECT coalesce(sum(samples), 0)::int FROM internal.rollup_1h"
RELIES = """
    CALL internal.mark_late('internal', {taken}, '{{}}', '{{}}', '{{}}',
        '{{{metric}}}', '{{{minute}}}', '{{1}}', NULL, '{{}}', '{{}}')
"""
"""That the first minute after noon is marked."""
WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = $1"
PER_ROUND = 12
SEEDS = int(os.environ.get("PROMGRES_EXAMPLES", "2"))


async def send_round(sender: Sender, number: int) -> None:
    """Four samples of each of three metrics, in the minute after noon."""
    first = NOON_MS + 10 * number
    await sender.send(*[(each, first + n, 1.0) for each in sender.ids for n in range(4)])


@pytest_asyncio.fixture
async def sender(postgres_db: Database) -> AsyncIterator[Sender]:
    async with sender_to(postgres_db) as sender:
        yield sender


@pytest_asyncio.fixture
async def connection(postgres_db: Database) -> AsyncIterator[asyncpg.Connection]:
    async with connect(postgres_db) as connection:
        yield connection


async def test_a_minute_of_a_metric_is_marked_once(
    sender: Sender, connection: asyncpg.Connection
) -> None:
    for number in range(5):
        await send_round(sender, number)
        assert await connection.fetchval(MARKS) == 3
    assert await connection.fetchval(ROLLED_UP) == 5 * PER_ROUND
    await connection.execute(WORK)
    assert await connection.fetchval(STORED) == 5 * PER_ROUND


@pytest.mark.parametrize(
    "taking", [WORK, "DELETE FROM internal.rollup_mark", "TRUNCATE internal.rollup_mark"]
)
async def test_what_was_taken_is_marked_anew(
    sender: Sender, connection: asyncpg.Connection, taking: str
) -> None:
    for number in range(6):
        await send_round(sender, number)
        await connection.execute(taking)
        assert await connection.fetchval(MARKS) == 0
        await send_round(sender, 10 + number)
        assert await connection.fetchval(MARKS) == 3
        assert await connection.fetchval(ROLLED_UP) == 2 * PER_ROUND * (number + 1)
    await connection.execute(WORK)
    assert await connection.fetchval(STORED) == 12 * PER_ROUND


async def test_a_worker_that_finds_nothing_takes_nothing(
    sender: Sender, connection: asyncpg.Connection
) -> None:
    await send_round(sender, 0)
    await connection.execute(WORK)
    taken = await connection.fetchval("SELECT last_value FROM internal.marks_taken")
    await connection.execute(WORK)
    assert await connection.fetchval("SELECT last_value FROM internal.marks_taken") == taken


async def test_a_worker_that_fails_leaves_the_marks(
    sender: Sender, connection: asyncpg.Connection
) -> None:
    await send_round(sender, 0)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(WORK)
    await send_round(sender, 1)  # waits for nobody
    await transaction.rollback()
    assert await connection.fetchval(MARKS) == 6
    await connection.execute(WORK)
    assert await connection.fetchval(STORED) == 2 * PER_ROUND


async def test_who_stores_while_the_worker_is_at_it_marks_anew(
    sender: Sender, connection: asyncpg.Connection
) -> None:
    await send_round(sender, 0)
    async with connection.transaction():
        await connection.execute(WORK)
        await send_round(sender, 1)
    assert await connection.fetchval(MARKS) == 3
    assert await connection.fetchval(ROLLED_UP) == 2 * PER_ROUND
    await connection.execute(WORK)
    assert await connection.fetchval(STORED) == 2 * PER_ROUND


async def test_the_worker_waits_for_who_relies_on_what_it_takes(
    postgres_db: Database, sender: Sender, connection: asyncpg.Connection
) -> None:
    await send_round(sender, 0)
    state = await connection.fetchrow(
        "SELECT taken, metrics[1] AS metric FROM internal.late_state('internal', $1)",
        sender.ids[:1],
    )
    relies = RELIES.format(**dict(state), minute=NOON_MS // 60_000)
    stores = "INSERT INTO internal.hot (time, series_id, value) VALUES ($1, $2, 1.0)"
    async with connect(postgres_db) as worker, connect(postgres_db) as writer:
        async with writer.transaction():
            await writer.execute(stores, NOON + timedelta(seconds=30), sender.ids[0])
            await writer.execute(relies)
            assert await connection.fetchval(MARKS) == 3
            works = asyncio.create_task(worker.fetchval(WORK))
            while not await connection.fetchval(WAITS, worker.get_server_pid()):
                assert not works.done(), "it reads without our sample"
                await asyncio.sleep(0)
        assert await works == 3
    assert await connection.fetchval(STORED) == PER_ROUND + 1


async def test_a_worker_with_an_old_snapshot_is_refused(
    sender: Sender, connection: asyncpg.Connection
) -> None:
    await send_round(sender, 0)
    with pytest.raises(asyncpg.FeatureNotSupportedError, match="READ COMMITTED"):
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute(WORK)


async def test_a_series_that_is_removed_meanwhile_is_forgotten(
    sender: Sender, connection: asyncpg.Connection
) -> None:
    """Its metric is asked for before any transaction could find out: else nobody ever would, if
    all that came were late."""
    gone, *others = sender.ids
    await sender.send(*[(each, NOON_MS, 1.0) for each in others])
    await connection.execute("SELECT internal.doom_series(0, 100, '0')")
    assert await connection.fetchval("SELECT internal.remove_doomed(100)") == 1
    before = sender.cache.generation
    with pytest.raises(Unavailable):
        await sender.send((gone, NOON_MS, 1.0))
    assert sender.cache.ended_since(before) == {gone}
    await sender.send(*[(each, NOON_MS + 1, 1.0) for each in others])
    assert await connection.fetchval(ROLLED_UP) == 4


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_any_minutes_whatever_is_taken_when(
    sender: Sender, connection: asyncpg.Connection, seed: int, closed: bool
) -> None:
    """Some of the samples come again, some while the worker is at it; straight, and by staging into
    partitions that are closed, part of them packed."""
    chance = random.Random(seed)
    if closed:
        await switch_on(connection)
        await send_round(sender, 0)
        await connection.execute(WORK)
        await close(connection, NOON + timedelta(hours=6))
    sent = {(each, NOON_MS + n) for each in sender.ids for n in range(4)} if closed else set()
    for _ in range(12):
        minutes = [chance.randrange(-61, 61) for _ in range(chance.choice([1, 3, 30]))]
        rows = [
            (series_id, NOON_MS + minute * 60_000 + chance.randrange(4))
            for series_id in chance.sample(sender.ids, 2)
            for minute in minutes
            for _ in range(2)
        ]
        work = chance.choice(["before", "beside", "not"])
        transaction = connection.transaction()
        await transaction.start()
        if work != "not":
            await connection.execute(WORK)
        if work == "before":
            await transaction.commit()
        if closed and work == "not":
            await connection.execute("SELECT internal.pack_hot(2)")
        await sender.send(*[(*row, 1.0) for row in rows])
        if work != "before":
            await transaction.commit()
        sent.update(rows)
        assert await connection.fetchval(ROLLED_UP) == len(sent)
    await connection.execute(WORK)
    assert await connection.fetchval(STORED) == len(sent)


@pytest.mark.parametrize("direct", [True, False])
async def test_days_that_have_hours_meanwhile_are_marked(engine_db: Database, direct: bool) -> None:
    """What a write side knew of hours of series is old; staging then looks at each row."""
    marked = "SELECT count(DISTINCT (series_id, day)) FROM internal.hours_mark"
    async with sender_to(engine_db, direct) as sender, connect(engine_db) as connection:
        await send_round(sender, 0)
        assert await connection.fetchval(marked) == 0
        await connection.execute(
            "UPDATE internal.hours_state SET marked_before = $1", NOON + timedelta(hours=12)
        )
        await send_round(sender, 1)
        assert await connection.fetchval(marked) == 3
        await connection.execute("DELETE FROM internal.hours_mark")
        sender.cache.marks.clear()  # as after a second
        await send_round(sender, 2)
        assert await connection.fetchval(marked) == 3
        count = "SELECT count(*)::int FROM internal.sample"
        assert await connection.fetchval(count) == 3 * PER_ROUND
