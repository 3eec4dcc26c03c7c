"""Packing at random moments, under writers, readers, retention, dumps and kills: each committed
sample is seen once, always, to the bit.

A seed decides what is written and when which step of packing runs, PostgreSQL how they meet.
PROMGRES_EXAMPLES is how many seeds are tried.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

import asyncpg
import numpy as np
import pytest

from ingest.copy_samples import encode_samples
from ingest.errors import Unavailable
from ingest.migrate import migrate
from ingest.model import Rows
from ingest.series.marks import Marks
from ingest.storage.database import Database as Store
from ingest.storage.database import Sought, Touched
from ingest.storage.pgerrors import Verdict, verdict_of
from ingest.storage.pool import borrow
from tests.support.blocks import OUTAGES, Key, Stored, all_samples, pack, random_step, switch_on
from tests.support.databases import Database, blocking, connect
from tests.support.dumps import dump, restored
from tests.support.fragile_postgres import FragilePostgres, fragile_postgres
from tests.support.hours import make_hours
from tests.support.sql_samples import Row, Samples, samples_of

SEEDS = int(os.environ.get("PROMGRES_EXAMPLES", "2"))
ROUNDS, KILLS = 25, 2
RETENTION_DAYS = 3
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - timedelta(days=5)
KEPT_FROM = TODAY - timedelta(days=2)
"""Retention takes nothing from here on, not even when midnight passes."""
END = TODAY + timedelta(hours=6)
STALE, NAN, PAYLOAD = 0x7FF0000000000002, 0x7FF8000000000000, 0xFFF8000000000123
"""Bits: of a stale marker, of what NaN is after a dump, of a NaN that says more."""

pytestmark = pytest.mark.timeout(300 + 30 * SEEDS)


class World:
    """What one seed makes of a database.

    Attributes:
        written: samples whose commit is known.
        offered: all that were ever sent, with bits and exact value: what a reader may see.
        dumping: held while nothing may expire, which a dump does not survive.
        is_fragile: connections are lost, and the server with them.
    """

    def __init__(self, database: Database, samples: Samples, seed: int) -> None:
        self.database, self.samples = database, samples
        self.chance = random.Random(seed)
        self.written: set[Key] = set()
        self.offered: dict[Key, set[tuple[str, str | None]]] = {}
        self.is_over = asyncio.Event()
        self.series: list[int] = []
        self.dumping = asyncio.Lock()
        self.is_fragile = False
        self._goal, self._reached = 0, asyncio.Event()

    @property
    def kept(self) -> set[Key]:
        """Those of the written samples that retention leaves alone."""
        return {key for key in self.written if key[1] >= KEPT_FROM}

    async def has_written(self, more: int) -> None:
        """Until so many more samples are."""
        self._goal = len(self.written) + more
        self._reached.clear()
        await self._reached.wait()

    def note(self, rows: list[Row]) -> None:
        """These are."""
        self.written.update((row[1], row[0]) for row in rows)
        if len(self.written) >= self._goal:
            self._reached.set()

    def rows(self) -> list[Row]:
        """Of a few series: at regular steps, beside them, and again."""
        step = timedelta(seconds=self.chance.choice([60, 300, 900]))
        is_old = (
            self.chance.randrange(5) == 0
        )  # what may be past its retention is a batch by itself
        begin = (START if is_old else KEPT_FROM) + self.chance.randrange(200) * timedelta(
            minutes=15
        )
        off = timedelta(milliseconds=self.chance.choice([0, 0, 0, 1, 0.007]))
        count = self.chance.choice([1, 5, 40])
        rows = {
            (series, begin + n * step + off): self.value(is_odd=series != self.series[-1])
            for series in self.chance.sample(self.series, 3)
            for n in range(count)
            if begin + n * step < END
        }
        known = [key for key in self.offered if key[1] >= KEPT_FROM and not is_old]
        for key in self.chance.sample(known, min(len(known), 10)):
            rows[key] = (99.0, None)
        return [(time, series, *value) for (series, time), value in sorted(rows.items())]

    def value(self, is_odd: bool) -> tuple[float, Decimal | None]:
        """A float with its exact value: mostly a small number. Days that have an odd one, exact or
        -0, have no hours, so one series has none."""
        if not is_odd:
            return float(self.chance.randrange(10)), None
        kind = self.chance.randrange(20)
        if kind == 0:
            return number(STALE), Decimal("NaN")
        if kind == 1:
            return number(PAYLOAD), None
        if kind == 2:
            exact = Decimal(self.chance.randrange(10**24)) + Decimal("0.25")
            return float(exact), exact
        return self.chance.choice([*range(10), -0.0, float("inf"), 0.1]) * 1.0, None


def number(bits: int) -> float:
    value: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return value


async def write(world: World) -> None:
    """As daemons do: straight into the rows, or through staging, again where it is refused."""
    store = Store(world.samples.pool)
    engine = world.samples.engine
    marks = Marks(1000)
    for _ in range(ROUNDS):
        rows = world.rows()
        if not rows:
            continue
        for time, series, value, exact in rows:
            told = struct.pack(">d", value).hex(), None if exact is None else str(exact)
            world.offered.setdefault((series, time), set()).add(told)
        moments = [int(row[0].timestamp() * 1000) for row in rows]
        payload = encode_samples(as_rows(rows))
        whole = all(row[0].microsecond % 1000 == 0 for row in rows)
        direct, believed_packed = whole and world.chance.random() < 0.5, world.chance.random() < 0.5
        while True:
            try:
                await engine.prepare(world.samples.pool, "internal", min(moments), max(moments))
                numbers = np.array([row[1] for row in rows])
                while (asked := marks.asks("internal", numbers, 0)) is not None:
                    marks.learn("internal", asked, await store.late_state("internal", asked), 0)
                touched = Touched([], marks.of("internal", numbers, np.array(moments)))
                sought = None
                if believed_packed:
                    sought = Sought(sorted({row[1] for row in rows}), min(moments), max(moments))
                if not direct or not await store.append_samples(
                    "internal", "late" if sought else "hot", [payload], touched, None,
                    sought=sought,
                ):  # fmt: skip
                    if whole:
                        expected = len(rows) % 2 == 0
                        await store.copy_to_staging("internal", [payload], expected, None)
                    else:
                        await by_records(world, rows)
                world.note(rows)
                break
            except asyncpg.DatetimeFieldOverflowError:
                break  # retention has passed them
            except (asyncpg.PostgresError, Unavailable, *OUTAGES) as error:
                if verdict_of(error) is not Verdict.RETRY:
                    if not (world.is_fragile and isinstance(error, (Unavailable, *OUTAGES))):
                        raise
                    await asyncio.sleep(0.05)
                engine.forget("internal")
        await asyncio.sleep(0)


def as_rows(rows: list[Row]) -> Rows:
    exact = {n: str(row[3]) for n, row in enumerate(rows) if row[3] is not None}
    return Rows(
        np.array([row[1] for row in rows], np.int64),
        np.array([round(row[0].timestamp() * 1000) for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        {position: text for position, text in exact.items() if text != "NaN"},
    )


async def by_records(world: World, rows: list[Row]) -> None:
    async with borrow(world.samples.pool, 60) as connection:
        await connection.copy_records_to_table(
            "sample", schema_name="staging_internal", records=rows,
            columns=["time", "series_id", "value", "exact"],
        )  # fmt: skip


Work = Callable[[World, asyncpg.Connection], Awaitable[None]]


async def again_and_again(world: World, work: Work, *, survives: bool = False) -> None:
    """Until all is over; on another connection after one was lost, where that happens."""
    while not world.is_over.is_set():
        try:
            async with connect(world.database) as connection:
                while not world.is_over.is_set():
                    await work(world, connection)
        except OUTAGES:
            if not (survives or world.is_fragile):
                raise
            await asyncio.sleep(0.02)


async def pack_at_random(world: World, connection: asyncpg.Connection) -> None:
    at = START + world.chance.randrange(132) * timedelta(hours=1)
    await random_step(connection, world.chance, at)


async def roll_up_and_expire(world: World, connection: asyncpg.Connection) -> None:
    """What retention takes has been rolled up before."""
    await connection.fetch("SELECT * FROM internal.rollup_round('1 day', now(), NULL)")
    async with world.dumping:
        try:
            await connection.fetch("SELECT internal.drop_expired_partitions('internal')")
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(0.02)


async def condense(world: World, connection: asyncpg.Connection) -> None:
    """Minutes that are over, a few metrics' at a time, and hours of days that are: moved, made, and
    lost with the server now and then."""
    step = world.chance.choice(CONDENSED)
    await connection.fetchval(step, END)


def read(isolation: Literal["read_committed", "repeatable_read", "serializable"]) -> Work:
    """Twice in one transaction, which sees one moment; each time nothing twice and all there is."""

    async def work(world: World, connection: asyncpg.Connection) -> None:
        async with connection.transaction(isolation=isolation, readonly=True):
            known = world.kept
            first = await seen(world, connection, known)
            for _ in range(world.chance.randrange(1, 4)):
                await asyncio.sleep(world.chance.random() / 20)
                second = await seen(world, connection, known)
                if isolation != "read_committed":
                    assert first == second
                start = START + world.chance.randrange(450) * timedelta(minutes=13)
                end = start + timedelta(minutes=world.chance.choice([1, 60, 1000]))
                call = f"internal.samples_between('{start}', '{end}')"
                part = await all_samples(connection, call)
                if isolation != "read_committed":
                    assert part == {
                        key: value for key, value in first.items() if start <= key[1] < end
                    }

    return work


async def read_once(world: World, connection: asyncpg.Connection) -> None:
    """Each statement by itself: there is all that was committed before it."""
    await seen(world, connection, world.kept)


async def seen(world: World, connection: asyncpg.Connection, known: set[Key]) -> Stored:
    found = await all_samples(connection)
    assert known <= found.keys(), f"lost {sorted(known - found.keys())[:3]}"
    for key, told in found.items():
        assert told in world.offered.get(key, ()), f"{key} was never sent as {told}"
    return found


CONDENSED = (
    "SELECT internal.pack_minutes(2, $1, '0')",
    "SELECT internal.make_hours($1, '0', 2, '0')",
)
AS_IT_STANDS = """
    SELECT p::text FROM internal.packed_1m AS p
    UNION ALL SELECT h::text FROM internal.series_hours AS h
    UNION ALL SELECT r::text FROM internal.rollup_1m AS r
    UNION ALL SELECT v::text FROM internal.series_hour AS v ORDER BY 1
"""
"""Packed minutes and hours of series as they are stored and as they are read: every digit."""

PARTIES: list[tuple[Work, bool]] = [
    (pack_at_random, True),
    (roll_up_and_expire, False),
    (condense, False),
    (read_once, False),
    (read("read_committed"), False),
    (read("repeatable_read"), False),
    (read("serializable"), False),
]


async def dump_and_restore(world: World) -> None:
    """With pg_dump, of a moment, while all of it goes on: another database has what was there at
    that moment, and goes on from there."""
    async with (
        world.dumping,
        connect(world.database) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        moment = await connection.fetchval("SELECT pg_export_snapshot()")
        there = await seen(world, connection, world.kept)
        condensed = await connection.fetch(AS_IT_STANDS)
        dumped = await dump(world.database, moment)
        assert await all_samples(connection) == there
    async with restored(world.database, dumped) as other, connect(other) as connection:
        expected = after_a_dump(there)
        assert await all_samples(connection) == expected
        assert await connection.fetch(AS_IT_STANDS) == condensed
        await pack(connection, END + timedelta(days=1))
        assert await all_samples(connection) == expected
        assert await connection.fetch(AS_IT_STANDS) == condensed
        assert await connection.fetchval("SELECT count(*) FROM internal.hot") == 0


def after_a_dump(stored: Stored) -> Stored:
    """A dump has no other NaN than one: a stale marker is told by its exact value."""
    plain = struct.pack(">Q", NAN).hex()
    return {
        key: (plain if number(int(bits, 16)) != number(int(bits, 16)) else bits, exact)
        for key, (bits, exact) in stored.items()
    }


async def live(world: World, *more: Awaitable[object]) -> None:
    """Writers and all others at once, until the writers and what else is awaited are through. Then
    everything is packed and expires, and rollups say what samples say."""
    others = [
        asyncio.create_task(again_and_again(world, work, survives=survives))
        for work, survives in PARTIES
    ]
    try:
        async with asyncio.TaskGroup() as writers:
            for each in (write(world), write(world), *more):
                writers.create_task(asyncio.wait_for(each, 240))
    finally:
        world.is_over.set()
        await asyncio.gather(*others)
    async with connect(world.database) as connection:
        before = await seen(world, connection, world.kept)
        assert {key for key in before if key[1] >= KEPT_FROM} == world.kept
        await pack(connection, END + timedelta(days=1))
        after = await all_samples(connection)  # what is past its retention goes at any moment
        assert after == {key: before[key] for key in after}
        assert world.kept <= after.keys()
        assert await connection.fetchval("SELECT count(*) FROM internal.hot") == 0
        while await connection.fetchval("SELECT count(*) FROM internal.rollup_mark"):
            # Some are of hours to come, when midnight was not long ago.
            await connection.fetch("SELECT * FROM internal.rollup_round('1 day', 'infinity', NULL)")
        while await connection.fetchval("SELECT internal.drop_expired_partitions('internal')"):
            pass
        after = await all_samples(connection)
        assert after == {key: before[key] for key in after}
        assert world.kept <= after.keys()
        assert not await connection.fetchval(
            "SELECT count(*) FROM internal.partitions_of('internal')"
            " WHERE upper(bounds) <= date_trunc('day', now() - $1::interval)",
            timedelta(days=RETENTION_DAYS + 1),  # midnight may pass
        )
        for _ in range(2):
            assert await connection.fetch(MINUTES_AS_STORED, KEPT_FROM) == await connection.fetch(
                MINUTES_OF_SAMPLES, KEPT_FROM
            )
            while await connection.fetchval(CONDENSED[0], END + timedelta(days=1)):
                pass
        assert await connection.fetchval("SELECT count(*) FROM internal.packed_1m")
        await make_hours(connection, TODAY, least=2)
        assert await connection.fetchval("SELECT count(*) FROM internal.series_hours")
        assert await connection.fetch(HOURS_AS_STORED) == await connection.fetch(HOURS_OF_SAMPLES)


MINUTES_AS_STORED = """
    SELECT bucket, samples, min, max FROM internal.rollup_1m WHERE bucket >= $1 ORDER BY 1
"""
MINUTES_OF_SAMPLES = """
    SELECT date_bin('1 minute', time, '2000-01-03'), count(*), min(value), max(value)
    FROM internal.sample WHERE value <> 'NaN' AND time >= $1 GROUP BY 1 ORDER BY 1
"""


HOURS_AS_STORED = """
    SELECT series_id, hour, samples, nans, min, max, first_time, last_time
    FROM internal.series_hour ORDER BY 1, 2
"""
HOURS_OF_SAMPLES = """
    SELECT x.series_id, h.hour, count(*) FILTER (WHERE value <> 'NaN'),
        count(*) FILTER (WHERE value = 'NaN'), min(value) FILTER (WHERE value <> 'NaN'),
        max(value) FILTER (WHERE value <> 'NaN'), min(x.time) FILTER (WHERE value <> 'NaN'),
        max(x.time) FILTER (WHERE value <> 'NaN')
    FROM internal.sample AS x
    JOIN internal.series_hour AS h
        ON h.series_id = x.series_id AND h.hour = date_bin('1 hour', x.time, '2000-01-03')
    GROUP BY 1, 2 ORDER BY 1, 2
"""


async def begin(world: World) -> None:
    await switch_on(world.samples.connection)
    await world.samples.connection.execute(
        "UPDATE internal.setting SET value = $1 WHERE key = 'retention.internal_days'",
        str(RETENTION_DAYS),
    )
    world.series = [await world.samples.series("m", number=str(n)) for n in range(8)]


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_every_sample_is_seen_once_whatever_is_packed_meanwhile(
    postgres_db: Database, seed: int
) -> None:
    async with samples_of(postgres_db) as samples:
        world = World(postgres_db, samples, seed)
        await begin(world)
        await live(world, dump_and_restore(world))


@pytest.mark.parametrize("seed", range(max(1, SEEDS // 2)))
def test_kills_of_the_server_change_nothing(seed: int) -> None:
    with fragile_postgres() as postgres:
        blocking(_live_with_kills(postgres, seed))


async def _live_with_kills(postgres: FragilePostgres, seed: int) -> None:
    await migrate(postgres.database.url, postgres.database.settings())
    async with samples_of(postgres.database) as samples:
        world = World(postgres.database, samples, seed)
        world.is_fragile = True
        await begin(world)
        await live(world, kill(world, postgres))


async def kill(world: World, postgres: FragilePostgres) -> None:
    """All its processes at once, or one of them, as often as KILLS says, while there is work."""
    for number_of in range(KILLS):
        await world.has_written(200)
        if number_of % 2:
            await asyncio.to_thread(postgres.kill_backend, world.chance, "")
        else:
            await asyncio.to_thread(postgres.kill)
            await asyncio.to_thread(postgres.start)
