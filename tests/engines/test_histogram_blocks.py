"""Packed native histograms: each is seen once, to the bit, whoever packs, writes late, or reads."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import asyncpg
import pytest
import pytest_asyncio

from ingest.config import RetentionSettings
from ingest.doctor import Level
from ingest.migrate import migrate
from ingest.model import STALE_MARKER_BITS
from tests.engines.native import CUSTOM, GAUGE, NO_RESET, RESET, Native, copy, store
from tests.engines.sql_api import Api
from tests.support.blocks import switch_off, switch_on
from tests.support.databases import Database, connect
from tests.support.doctoring import diagnose
from tests.support.dumps import dump, restored

SEEDS = int(os.environ.get("PROMGRES_EXAMPLES", "3"))
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - timedelta(days=5)
KEPT_FROM = TODAY - timedelta(days=3)
HOUR, SECOND, MICROSECOND = timedelta(hours=1), timedelta(seconds=1), timedelta(microseconds=1)
PACK = "SELECT internal.pack_histograms($1, $2, '0')"
BY_DEFAULT = "SELECT internal.pack_histograms(5000, $1)"
DROP = "SELECT internal.drop_retired('internal')"
ROWS = "SELECT count(*) FROM internal.histogram_row"
BLOCKS = "SELECT count(*) FROM internal.histogram_block"
BITS = "SELECT series_id, time, encode(record_send(h), 'hex') AS bits FROM {} AS h"
TEXT = "SELECT series_id, time, h::text AS bits FROM {} AS h"
"""A dump has no other NaN than one."""
Key = tuple[int, datetime]
Stored = dict[Key, str]


def number(bits: int) -> float:
    value: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return value


STALE, OTHER_NAN = number(STALE_MARKER_BITS), number(0x7FF8000000000001)


@pytest_asyncio.fixture
async def api(postgres_db: Database) -> AsyncIterator[Api]:
    async with connect(postgres_db) as connection:
        await switch_on(connection)
        yield Api(postgres_db, connection)


async def all_of(
    connection: asyncpg.Connection, relation: str = "internal.histogram", ask: str = BITS
) -> Stored:
    """What a reader sees of histograms, each once.

    Raises:
        AssertionError: one is seen twice.
    """
    rows = await connection.fetch(ask.format(relation))
    seen = {(row["series_id"], row["time"]): row["bits"] for row in rows}
    assert len(seen) == len(rows), "a histogram is seen twice"
    return seen


async def pack(connection: asyncpg.Connection, before: datetime = TODAY, most: int = 5000) -> int:
    """All that there is to pack; how many histograms (and looks at hours with none)."""
    await connection.execute("SELECT pg_stat_force_next_flush()")  # how many rows came in
    done = 0
    while packed := await connection.fetchval(PACK, most, before):
        done += packed
    return done


def steady(count: int, step: timedelta = 15 * SECOND, start: datetime = START) -> list[Native]:
    """A counter's histograms, three buckets and the zero one."""
    return [
        Native(
            start + n * step, {-3: n, 1: n // 2, 7: 5}, {2: 1}, zero=n % 7, sum=n / 8, start=START
        )
        for n in range(count)
    ]


def of_all_kinds() -> list[list[Native]]:
    """Series whose buckets come and go, at regular times and others, with all that is odd."""
    odd = [
        Native(START, {1: 1}, sum=OTHER_NAN),
        Native(START + SECOND, {1: 1}, sum=-0.0, threshold=-0.0),
        Native(START + 2 * SECOND, {1: 1}, threshold=0.0),
        Native(START + 3 * SECOND, sum=STALE, is_stale=True),
        Native(START + 4 * SECOND, sum=STALE, is_stale=True),
        Native(START + 5 * SECOND, {1: float("inf")}),
        Native(START + 6 * SECOND, {1: 1}, hint=RESET),
        Native(START + 7 * SECOND, {1: 1}, hint=GAUGE, is_float=True),
        Native(START + 8 * SECOND, {0: 1.5}, schema=CUSTOM, bounds=[-1.0, 2.5], is_float=True),
        Native(START + 9 * SECOND, {0: 2.5}, schema=CUSTOM, bounds=[-1.0, 2.5], is_float=True),
        Native(START + 10 * SECOND, {0: 2.5}, schema=CUSTOM, bounds=[], is_float=True),
        Native(START + 11 * SECOND, {1: 2.0**63}, exact_counts=[Decimal(2**63 + 1)] * 3),
        Native(START + 12 * SECOND, {1: 2.0**63}, exact_counts=[Decimal("1.0")] * 3),
        Native(START + 13 * SECOND, {1: 1}, start=START),
        Native(START + 14 * SECOND, {1: 1}, start=START + SECOND),
    ]
    jitter = [
        replace(h, time=h.time + (n * n % 7) * MICROSECOND)
        for n, h in enumerate(steady(100, 61 * SECOND))
    ]
    growing = [
        replace(h, positive=dict.fromkeys(range(1 + n // 40), n)) for n, h in enumerate(steady(200))
    ]
    return [steady(1700, 60 * SECOND), steady(30, 7 * HOUR / 2), odd, jitter, growing]


async def test_what_is_packed_reads_as_it_did(api: Api) -> None:
    await store(api, *of_all_kinds())
    shapes = ("'[0:2]={1,2,3}'", "'{{1,2},{3,4}}'", "'{NULL,1}'", "'{1,2,3}'")
    for n, counts in enumerate(shapes * 2):  # of people: what is found by its place would be lost
        await api.connection.execute(
            "INSERT INTO staging_internal.histogram VALUES ($1, 9999, 0, false, false, 0, 0, 0, 0,"
            f" '{{1,2}}', {counts}, '{{}}', '{{}}', NULL, 0)",
            START + n * SECOND,
        )
    before = await all_of(api.connection)
    called = await answers(api)
    assert await pack(api.connection, most=700) >= len(before)
    assert await api.connection.fetchval(ROWS) == 0
    assert await all_of(api.connection) == before
    blocks = await api.connection.fetch(
        "SELECT histograms, step_us, times FROM internal.histogram_block"
    )
    assert sum(row["histograms"] for row in blocks) == len(before)
    assert len(blocks) < len(before) / 15
    assert any(row["times"] for row in blocks)
    edges = [START + n * timedelta(minutes=97, seconds=13) for n in range(8)]
    for start, end in [(START, TODAY), *itertools.pairwise(edges), (START, START)]:
        call = f"internal.histograms_between('{start}', '{end}')"
        inside = {key: bits for key, bits in before.items() if start <= key[1] < end}
        assert await all_of(api.connection, call) == inside, (start, end)
    assert await answers(api) == called
    overlapping = await api.connection.fetchval(
        "SELECT count(*) FROM internal.histogram_block AS a JOIN internal.histogram_block AS b"
        " USING (series_id) WHERE a.first_time < b.first_time AND a.last_time >= b.first_time"
    )
    assert overlapping == 0


async def answers(api: Api) -> list[Any]:
    """Of all that reads histograms, but for PromQL."""
    series = await api.connection.fetchval("SELECT array_agg(series_id) FROM internal.series")
    period = [START + timedelta(minutes=97), START + timedelta(days=1, minutes=7)]
    width = timedelta(minutes=53)
    asked: list[tuple[str, list[Any]]] = [
        ("api.histogram_quantile(0.9, 'h', 'common', $1, $2, $3)", [width, *period]),
        ("api.histogram_count('h', 'common', $1, $2, $3)", [width, *period]),
        ("api.histogram_sum('h', 'common', $1, $2, $3)", [width, *period]),
        ("internal.histograms_and_bases($1, $2, $3)", [series, *period]),
        ("internal.newest_histograms($1, $2, $3)", [series, *period]),
    ]
    found = []
    for call, arguments in asked:
        rows = await api.connection.fetch(f"SELECT x::text FROM {call} AS x ORDER BY 1", *arguments)
        assert rows, call
        found.append([row[0] for row in rows])
    return found


async def test_late_ones_and_duplicates(api: Api) -> None:
    every_third = [h for n, h in enumerate(steady(1500)) if n % 3]
    [series] = await store(api, every_third)
    await pack(api.connection)
    before = await all_of(api.connection)
    again = [replace(h, sum=99.0).row(series) for h in steady(1500)]
    assert await copy(api, "histogram", again) == 500
    assert await copy(api, "histogram", again) == 0
    both = await all_of(api.connection)
    assert {key: both[key] for key in before} == before
    assert len(both) == 1500
    blocks = await api.connection.fetchval(BLOCKS)
    await pack(api.connection)
    assert await api.connection.fetchval(ROWS) == 0
    assert await all_of(api.connection) == both
    assert await api.connection.fetchval(BLOCKS) <= blocks  # one again, of a regular step
    assert await copy(api, "histogram", again) == 0


async def test_who_writes_late_ones_and_who_packs_wait_for_each_other(api: Api) -> None:
    [series] = await store(api, steady(10))
    again = [replace(h, sum=99.0).row(series) for h in steady(12)]
    before = await all_of(api.connection)
    async with connect(api.database) as packer:
        moving = packer.transaction()
        await moving.start()
        while await packer.fetchval(PACK, 5000, TODAY):
            pass
        assert await packer.fetchval(BLOCKS) > 0
        writing = asyncio.create_task(copy(api, "histogram", again))
        async with asyncio.timeout(60):
            waiting = 0
            while not waiting:
                waiting = await packer.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
                await asyncio.sleep(0.01)
        await moving.commit()
        assert await writing == 2
        seen = await all_of(packer)
        assert before == {key: seen[key] for key in before}
        assert len(seen) == 12
        # And the other way.
        await store(api, steady(5, start=START + timedelta(days=1)), name="another")
        async with api.connection.transaction():
            await api.connection.copy_records_to_table(
                "histogram",
                schema_name="staging_internal",
                records=[h.row(series) for h in steady(13)],
            )
            with pytest.raises(asyncpg.LockNotAvailableError):
                await pack(packer)
        await pack(packer)
        assert len(await all_of(packer)) == 18


async def test_a_partition_that_is_packed_is_dropped_when_nobody_may_read_it(api: Api) -> None:
    [series] = await store(api, steady(50))
    before = await all_of(api.connection)
    partitions = "SELECT count(*) FROM internal.partitions_of('histogram')"
    async with (
        connect(api.database) as reader,
        reader.transaction(isolation="repeatable_read", readonly=True),
    ):
        await reader.fetchval("SELECT count(*) FROM internal.series")  # its snapshot is of before
        await pack(api.connection)
        while await api.connection.fetchval(DROP):
            pass
        assert await api.connection.fetchval(partitions) == 1
        assert await all_of(reader) == before
    await gone(api, partitions)
    assert await all_of(api.connection) == before
    # A late one makes the partition anew.
    late = steady(1, start=START + 7 * SECOND)[0]
    assert await copy(api, "histogram", [late.row(series)]) == 1
    await pack(api.connection)
    assert len(await all_of(api.connection)) == 51
    await gone(api, partitions)


async def gone(api: Api, partitions: str) -> None:
    """Until they are: an autovacuum that was there before is waited for, for instance."""
    async with asyncio.timeout(60):
        while await api.connection.fetchval(partitions):
            try:
                await api.connection.fetchval(DROP)
            except asyncpg.LockNotAvailableError:
                await asyncio.sleep(0.05)


async def test_the_newest_stay_rows_and_all_do_when_it_is_off(api: Api) -> None:
    span = TODAY + 12 * HOUR
    await store(api, steady(600, 60 * SECOND, TODAY + 6 * HOUR))
    await pack(api.connection, span - MICROSECOND)
    await switch_off(api.connection)
    assert await pack(api.connection, span) == 0
    assert await api.connection.fetchval(BLOCKS) == 0
    await switch_on(api.connection)
    await pack(api.connection, span)
    assert await api.connection.fetchval(ROWS) == 240
    # Of a partition that is over, who still fills it is left alone for a while.
    await store(api, steady(10), name="old")
    assert await api.connection.fetchval(BY_DEFAULT, TODAY) == 0
    await api.connection.execute(
        "UPDATE internal.histogram_packing SET since = since - interval '601 s'"
    )
    assert await api.connection.fetchval(BY_DEFAULT, TODAY) >= 10


async def test_how_far_behind_it_is(api: Api) -> None:
    """What a write side tells of in a gauge, and the doctor in a line."""
    behind = "SELECT internal.histograms_behind()"
    assert await api.connection.fetchval(behind) == 0
    await store(api, steady(600, 60 * SECOND), name="old")
    assert 4 * 86400 < await api.connection.fetchval(behind) < 6 * 86400
    found = (await diagnose(api.database, rollup_patience=0.1)).only("histograms")
    assert "histograms are not packed, the oldest could be since " in found.what
    assert "start a write side" in found.todo
    # Somebody fills it: it is waited for, six hours at most.
    await api.connection.execute("SELECT pg_stat_force_next_flush()")
    for _ in range(4):  # six hours each, the last of which ends the day
        await api.connection.fetchval(BY_DEFAULT, TODAY)
    assert await api.connection.fetchval(behind) == 0
    await pack(api.connection)
    assert await api.connection.fetchval(behind) == 0
    assert (await diagnose(api.database)).level("histograms") == Level.OK
    await store(api, steady(10), name="late")
    assert await api.connection.fetchval(behind) == 0, "what is late is packed later"


async def test_what_cannot_be_done_is_refused_in_one_line(api: Api) -> None:
    [series] = await store(api, steady(10))
    await pack(api.connection)
    row = steady(1)[0].row(series)
    with pytest.raises(
        asyncpg.FeatureNotSupportedError,
        match=r"^internal\.histogram is a view: write histograms into staging_internal\.histogram$",
    ):
        await api.connection.copy_records_to_table(
            "histogram", schema_name="internal", records=[row]
        )
    with pytest.raises(
        asyncpg.FeatureNotSupportedError, match=r"not packed yet stand in internal\.histogram_row$"
    ):
        await api.connection.execute("DELETE FROM internal.histogram")
    with pytest.raises(asyncpg.FeatureNotSupportedError, match="READ COMMITTED only"):
        async with api.connection.transaction(isolation="repeatable_read"):
            await api.connection.copy_records_to_table(
                "histogram", schema_name="staging_internal", records=[row]
            )


async def test_retention_deletes_blocks_of_whole_days(api: Api) -> None:
    await store(api, steady(200, HOUR), steady(200, HOUR, START + timedelta(minutes=59)))
    await pack(api.connection)
    before = await all_of(api.connection)
    await migrate(api.database.url, api.database.settings(
        retention=RetentionSettings(internal_days=3)))  # fmt: skip
    while await api.connection.fetchval("SELECT internal.drop_expired_histograms(3)"):
        pass
    after = await all_of(api.connection)
    oldest = min(time for _, time in after)
    assert oldest in (KEPT_FROM, KEPT_FROM + timedelta(days=1))  # where midnight has passed
    assert after == {key: bits for key, bits in before.items() if key[1] >= oldest}
    assert len(after) < len(before)


class World:
    """What one seed makes of a database.

    Attributes:
        written: those whose commit is known, of times that retention leaves alone.
        told: what was first seen of each: it never changes.
    """

    def __init__(self, api: Api, seed: int) -> None:
        self.api, self.chance = api, random.Random(seed)
        self.series: list[int] = []
        self.written: set[Key] = set()
        self.told: Stored = {}
        self.ended = asyncio.Event()
        self.packed = 0

    def batch(self) -> list[tuple[object, ...]]:
        """Of one series, some of which came before, of times of which some are past retention."""
        chance = self.chance
        step = chance.choice([15, 60, 600]) * SECOND
        begin = START + chance.randrange(400) * timedelta(minutes=15)
        kinds: Sequence[dict[str, Any]] = [
            {}, {}, {"schema": 3}, {"is_stale": True}, {"hint": NO_RESET},
            {"exact_counts": [Decimal(2**60)]}, {"sum": float("nan")},
        ]  # fmt: skip
        kind = {"sum": chance.random()} | chance.choice(kinds)
        off = chance.choice([0, 0, 0, 1, 7]) * MICROSECOND
        times = [begin + n * step + off * (n % 3) for n in range(chance.choice([1, 5, 40]))]
        return [
            Native(time, dict.fromkeys(range(chance.randrange(1, 4)), n), **kind).row(
                chance.choice(self.series)
            )
            for n, time in enumerate(times)
            if time < TODAY
        ]

    async def write(self) -> None:
        """As daemons do, again where somebody was in the way."""
        async with connect(self.api.database) as connection:
            api = Api(self.api.database, connection)
            for _ in range(25):
                rows = self.batch()
                expired = [row for row in rows if row[0] < KEPT_FROM]  # type: ignore[operator]
                rows = expired or rows
                while rows:
                    try:
                        await copy(api, "histogram", rows)
                    except asyncpg.CheckViolationError:
                        continue  # a partition was dropped since
                    except asyncpg.DatetimeFieldOverflowError:
                        break  # its day is gone
                    if not expired:
                        self.written.update((row[1], row[0]) for row in rows)  # type: ignore[misc]
                    break

    async def pack(self) -> None:
        async with connect(self.api.database) as connection:
            while not self.ended.is_set():
                try:
                    most = self.chance.choice([1, 40, 5000])
                    before = START + self.chance.randrange(21) * 6 * HOUR
                    self.packed += await connection.fetchval(PACK, most, before)
                    await connection.fetchval(DROP)
                except asyncpg.LockNotAvailableError:
                    pass
                await asyncio.sleep(self.chance.random() / 50)

    async def expire(self) -> None:
        async with connect(self.api.database) as connection:
            while not self.ended.is_set():
                try:
                    await connection.fetchval(
                        "SELECT internal.drop_expired_partitions('histogram')"
                    )
                    await connection.fetchval("SELECT internal.drop_expired_histograms(2)")
                except asyncpg.LockNotAvailableError:
                    pass
                await asyncio.sleep(self.chance.random() / 10)

    async def seen(self, connection: asyncpg.Connection, known: set[Key]) -> Stored:
        found = await all_of(connection)
        assert known <= found.keys(), f"lost {sorted(known - found.keys())[:3]}"
        for key, bits in found.items():
            if key[1] >= KEPT_FROM:  # what expired may come again
                assert self.told.setdefault(key, bits) == bits, f"{key} has changed"
        return found

    async def read(
        self, isolation: Literal["read_committed", "repeatable_read", "serializable"]
    ) -> None:
        async with connect(self.api.database) as connection:
            while not self.ended.is_set():
                async with connection.transaction(isolation=isolation, readonly=True):
                    first = await self.seen(connection, set(self.written))
                    for _ in range(2):
                        await asyncio.sleep(self.chance.random() / 20)
                        second = await self.seen(connection, set(first) & self.written)
                        kept = {key for key in first if key[1] >= KEPT_FROM}
                        if isolation != "read_committed":
                            assert kept <= second.keys()
                            assert {k for k in second if k[1] >= KEPT_FROM} == kept


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_each_is_seen_once_whatever_goes_on(api: Api, seed: int) -> None:
    world = World(api, seed)
    world.series = await store(api, *([h] for h in steady(3, start=KEPT_FROM)))
    await migrate(
        api.database.url, api.database.settings(retention=RetentionSettings(internal_days=4))
    )
    await switch_on(api.connection)
    others = [
        asyncio.create_task(work)
        for work in (
            world.pack(), world.expire(), world.read("read_committed"),
            world.read("repeatable_read"), world.read("serializable"),
        )
    ]  # fmt: skip
    try:
        async with asyncio.timeout(240), asyncio.TaskGroup() as writers:
            writers.create_task(world.write())
            writers.create_task(world.write())
            writers.create_task(dump_and_restore(world))
    finally:
        world.ended.set()
        await asyncio.gather(*others)
    assert world.packed
    await world.seen(api.connection, world.written)
    await pack(api.connection)
    await world.seen(api.connection, world.written)
    assert await api.connection.fetchval(ROWS) == 0


async def dump_and_restore(world: World) -> None:
    """With pg_dump, of a moment, while all of it goes on."""
    async with moment_of(world.api.database) as (connection, moment):
        there = await all_of(connection, ask=TEXT)
        dumped = await dump(world.api.database, moment)
    async with restored(world.api.database, dumped) as other, connect(other) as connection:
        assert await all_of(connection, ask=TEXT) == there
        await pack(connection)
        assert await all_of(connection, ask=TEXT) == there


@asynccontextmanager
async def moment_of(database: Database) -> AsyncIterator[tuple[asyncpg.Connection, str]]:
    async with (
        connect(database) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        # Retention waits for it: a partition that is dropped would be missing in the dump.
        await connection.execute("LOCK TABLE internal.histogram_row IN ACCESS SHARE MODE")
        yield connection, await connection.fetchval("SELECT pg_export_snapshot()")
