"""What is sent twice is settled from memory; what was taken away meanwhile is stored again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ingest.config import ReceiverSettings, WriterSettings
from ingest.errors import Unavailable
from ingest.intake.quotas import UNLIMITED
from ingest.metrics import TenantNames
from ingest.model import Counts, Intake, SeriesId
from ingest.series.cache import SeriesCache
from ingest.storage import database as storage
from ingest.storage.engine import Engine, to_ms
from ingest.storage.engines import load_engine
from ingest.storage.life import Life
from ingest.storage.pool import Pool, create_pool
from ingest.writer.ledger import SAMPLES, Ledger
from ingest.writer.metrics import BATCHES, REMEMBERED
from ingest.writer.pipeline import Pipeline
from tests.engines.test_removal import series_of
from tests.support.blocks import pack, switch_on
from tests.support.databases import Database, connect
from tests.support.rows import rows_of

HOUR_MS = 3_600_000
NOW_MS = to_ms(datetime.now(UTC)) // HOUR_MS * HOUR_MS
"""Begins an hour, so that ten seconds later is in the same partition."""
LIFE = "SELECT max(number) FROM internal.life"
STORED = "SELECT series_id, time, value FROM internal.sample ORDER BY 1, 2"

Sample = tuple[int, int, float]


class Sender:
    """A write side in this process, and what it makes of requests."""

    def __init__(
        self,
        pipeline: Pipeline,
        ledger: Ledger,
        life: Life,
        cache: SeriesCache,
        engine: Engine,
        pool: Pool,
    ) -> None:
        self.pipeline = pipeline
        self.engine = engine
        self.pool = pool
        self.life = life
        self.cache = cache
        self._ledger = ledger
        self.ids: list[SeriesId] = []

    async def send(self, *samples: Sample) -> None:
        """One request of (series id, time in ms, value), until it is taken."""
        rows = rows_of(*samples)
        intake = Intake(
            known={"internal": rows},
            sent=Counts(samples=len(rows)),
            generation=self.cache.generation,
        )
        self._ledger.receive(intake)
        await self.pipeline.write(intake, self._ledger.begin(intake))

    async def round(self, start_ms: int, value: float = 1.0, twins: int = 1) -> None:
        """A sample of each series, by some senders at once."""
        request = [(series_id, start_ms, value) for series_id in self.ids]
        await asyncio.gather(*[self.send(*request) for _ in range(twins)])

    async def meet_duplicates(self, start_ms: int = NOW_MS - HOUR_MS) -> None:
        """From then on it remembers."""
        await self.round(start_ms)
        await self.round(start_ms)


@asynccontextmanager
async def sender_to(database: Database, direct: bool = True) -> AsyncIterator[Sender]:
    settings = database.settings()
    cache = SeriesCache(1000)
    life = Life(cache)
    pool = await create_pool(database.url, settings.database, "test", life.check)
    async with pool.acquire() as connection:
        engine = await load_engine(connection, settings)
    ledger = Ledger(TenantNames(lambda _: "twins"))
    writes = storage.Database(pool, life=life)
    pipeline = Pipeline(
        writes,
        engine,
        cache,
        ledger,
        WriterSettings(direct=direct),
        ReceiverSettings(),
        UNLIMITED,
    )
    sender = Sender(pipeline, ledger, life, cache, engine, pool)
    series = [series_of(f"remembered_{number}") for number in range(3)]
    sender.ids = sorted((await writes.resolve_series(series)).values())
    pipeline.start()
    try:
        yield sender
    finally:
        await pipeline.stop(60)
        await pool.close()


@contextmanager
def adds(**wanted: int) -> Iterator[None]:
    """To the accounts, to batches by their way, "batches" being those from memory, and to samples
    that were not sent at all."""

    def figures() -> dict[str, float]:
        results = ("written", "duplicate", "received")
        return {
            **{name: SAMPLES.values["twins", name] for name in results},
            "batches": BATCHES.values.get(("internal", "memory"), 0),
            "direct": BATCHES.values.get(("internal", "direct"), 0),
            "staging": BATCHES.values.get(("internal", "staging"), 0),
            "remembered": REMEMBERED.labels("internal")._value.get(),
        }

    before = figures()
    yield
    added = {name: after - before[name] for name, after in figures().items()}
    assert {name: added[name] for name in wanted} == wanted
    assert added["received"] == added["written"] + added["duplicate"]


async def test_a_pair_of_senders(engine_db: Database) -> None:
    async with sender_to(engine_db) as sender, connect(engine_db) as connection:
        with adds(written=3, duplicate=3, remembered=0):
            await sender.meet_duplicates()
        rounds = [NOW_MS + step for step in range(4)]
        with adds(written=12, duplicate=0, remembered=0):
            for at in rounds:
                await sender.round(at)
        with adds(written=0, duplicate=12, batches=4, remembered=12):
            for at in rounds:  # the first value stays
                await sender.round(at, 2.0)
        first, *others = sender.ids
        with adds(written=1, duplicate=3, batches=0, remembered=3):  # some of it is new
            await sender.send(
                *[(each, NOW_MS + 3, 1.0) for each in sender.ids], (first, NOW_MS + 5, 1.0)
            )
        with adds(written=2, duplicate=1, remembered=0):  # one that is older than what is known
            await sender.send(
                (first, NOW_MS - HOUR_MS, 1.0), *[(each, NOW_MS + 5, 1.0) for each in others]
            )
        with adds(written=30, duplicate=60):
            for step in range(10, 20):
                await sender.round(NOW_MS + step, twins=3)
        stored = await connection.fetch(STORED)
        assert len(stored) == 3 * (1 + 4 + 1 + 10)
        assert {row["value"] for row in stored} == {1.0}


async def test_staging_is_the_only_way_if_the_setting_says_so(engine_db: Database) -> None:
    async with sender_to(engine_db, direct=False) as sender:
        direct = BATCHES.values.get(("internal", "direct"), 0)
        with adds(written=3, duplicate=6, batches=0, remembered=0):
            await sender.meet_duplicates()
            await sender.round(NOW_MS - HOUR_MS)
        assert BATCHES.values.get(("internal", "direct"), 0) == direct


BY_HAND = {
    "postgres": [
        "DELETE FROM internal.hot WHERE time >= $1",
        "DELETE FROM internal.{partition} WHERE time >= $1",
        "TRUNCATE internal.hot",
        "TRUNCATE internal.{partition}",
        "UPDATE internal.hot SET time = time + interval '1 minute' WHERE time >= $1",
        "UPDATE internal.{partition} SET series_id = series_id + 100 WHERE time >= $1",
    ],
    "timescaledb": [
        "DELETE FROM internal.sample WHERE time >= $1",
        "UPDATE internal.sample SET time = time + interval '1 minute' WHERE time >= $1",
        "TRUNCATE internal.sample",
    ],
}


async def test_what_is_changed_by_hand_is_stored_again(engine_db: Database) -> None:
    async with sender_to(engine_db) as sender, connect(engine_db) as connection:
        await sender.meet_duplicates()
        for number, statement in enumerate(BY_HAND[engine_db.engine]):
            at = NOW_MS + 10 * number
            moment = datetime.fromtimestamp(at / 1000, UTC)
            await sender.round(at)
            with adds(duplicate=3, batches=1, remembered=3):
                await sender.round(at)
            partition = ""
            if "{partition}" in statement:
                partition = await connection.fetchval(
                    "SELECT name FROM internal.partitions_of('internal')"
                    " WHERE \"table\" = 'hot' AND bounds @> $1::timestamptz",
                    moment,
                )
            arguments = [moment] if "$1" in statement else []
            await connection.execute(statement.format(partition=partition), *arguments)
            with adds(written=3, remembered=0):
                await sender.round(at)
            with adds(duplicate=3):
                await sender.round(at)
            found = await connection.fetchval(
                "SELECT count(*) FROM internal.sample WHERE time = $1 AND series_id = ANY ($2)",
                moment,
                sender.ids,
            )
            assert found == 3, statement
        assert await connection.fetchval("SELECT count(*) FROM internal.life_ending") == 0


async def test_an_open_transaction_keeps_nobody_waiting(postgres_db: Database) -> None:
    async with sender_to(postgres_db) as sender, connect(postgres_db) as connection:
        await sender.meet_duplicates()
        await sender.round(NOW_MS)
        deleting = connection.transaction()
        await deleting.start()
        await connection.execute("DELETE FROM internal.hot")
        with adds(written=3, duplicate=3, remembered=3):  # nobody sees yet that they are gone
            await sender.round(NOW_MS + 1)
            await sender.round(NOW_MS)
        await deleting.commit()
        with adds(written=3, remembered=0):
            await sender.round(NOW_MS)
        taken_back = connection.transaction()
        await taken_back.start()
        await connection.execute("DELETE FROM internal.hot")
        await taken_back.rollback()
        before = await connection.fetchval(LIFE)
        with adds(duplicate=3, remembered=3):
            await sender.round(NOW_MS)
        assert await connection.fetchval(LIFE) == before


async def test_packing_and_retention_end_no_life(postgres_db: Database) -> None:
    """Deleting what they have packed does."""
    old_ms = NOW_MS - 72 * HOUR_MS
    async with sender_to(postgres_db) as sender, connect(postgres_db) as connection:
        await switch_on(connection)
        await connection.execute(
            "INSERT INTO internal.setting (key, value) VALUES ('retention.internal_days', '2')"
            " ON CONFLICT (key) DO UPDATE SET value = '2'"
        )
        await sender.meet_duplicates(old_ms)
        before = await connection.fetchval(LIFE)
        packed = datetime.fromtimestamp(NOW_MS / 1000, UTC) - timedelta(hours=24)
        await pack(connection, packed)
        await sender.round(old_ms + 1)  # late
        assert await connection.fetchval("SELECT count(*) FROM internal.late") == 3
        await pack(connection, packed)
        assert await connection.fetchval("SELECT count(*) FROM internal.late") == 0
        assert await connection.fetchval(LIFE) == before
        with adds(duplicate=3, remembered=3):
            await sender.round(old_ms + 1)
        for table in ("block", "late"):
            await sender.round(old_ms + 1)
            assert await connection.fetchval(f"SELECT count(*) FROM internal.{table}") > 0
            await connection.execute(f"DELETE FROM internal.{table}")
            with adds(written=3, remembered=0):
                await sender.round(old_ms + 1)
        before = await connection.fetchval(LIFE)
        await connection.execute("DELETE FROM internal.rollup_mark")  # what retention waits for
        while await connection.fetchval("SELECT internal.drop_expired_partitions('internal')"):
            pass
        assert await connection.fetchval("SELECT count(*) FROM internal.sample") == 0
        assert await connection.fetchval(LIFE) == before


async def test_late_samples_go_past_staging_unless_blocks_may_have_them(
    postgres_db: Database,
) -> None:
    old_ms = NOW_MS - 72 * HOUR_MS
    packed = datetime.fromtimestamp(NOW_MS / 1000, UTC) - timedelta(hours=24)
    async with sender_to(postgres_db) as sender, connect(postgres_db) as connection:
        await switch_on(connection)
        await sender.round(old_ms)
        await pack(connection, packed)
        await sender.engine.work(sender.pool)  # learns what is packed, and makes hours
        sender.cache.marks.clear()  # as a second later
        sender.engine.forget("internal")  # as an attempt does that finds no partition
        with adds(written=3, direct=1, staging=0):
            await sender.round(old_ms + 20_000)
        with adds(duplicate=3, direct=0, staging=1):
            await sender.round(old_ms)
        with adds(written=3, direct=1, staging=0):  # one failure is no reason to stop trying
            await sender.round(old_ms + 30_000)
        await pack(connection, packed)
        assert await connection.fetchval("SELECT count(*) FROM internal.late") == 0
        sender.engine.forget("internal")
        with adds(written=3, direct=0, staging=1):
            await sender.round(old_ms + 10_000)
        assert await connection.fetchval("SELECT count(*) FROM internal.sample") == 12


async def test_removal_of_series_takes_out_only_those(engine_db: Database) -> None:
    async with sender_to(engine_db) as sender, connect(engine_db) as connection:
        await sender.meet_duplicates()
        await sender.round(NOW_MS)
        await connection.execute(
            "INSERT INTO internal.life (ended_series) VALUES ($1)", sender.ids[:1]
        )
        with adds(duplicate=2, remembered=2):
            await sender.send(*[(each, NOW_MS, 1.0) for each in sender.ids[1:]])
        with adds(duplicate=1, remembered=0):
            await sender.send((sender.ids[0], NOW_MS, 1.0))


async def test_marks_are_counted(engine_db: Database) -> None:
    """A copy of the disk from before one of them has counted fewer; a commit of which nobody knows
    whether it was one begins a new count."""
    async with sender_to(engine_db) as sender, connect(engine_db) as connection:
        await sender.meet_duplicates()
        await sender.round(NOW_MS)
        with adds(duplicate=3, remembered=3):
            sender.life.failed(sender.life.end(remembers=True), ConnectionResetError())
            assert not sender.life.is_known
            await sender.round(NOW_MS)
        assert sender.life.is_known
        await sender.round(NOW_MS + 1)
        for missing in ("mark = mark - 1", "writer = gen_random_uuid()"):
            await connection.execute(f"UPDATE internal.writer SET {missing}")
            with pytest.raises(asyncpg.PostgresError, match="not what its writer remembers"):
                await connection.execute(sender.life.end().sql)
            with pytest.raises(Unavailable):  # it is to be decoded again
                await sender.round(NOW_MS + 1)
            with adds(duplicate=3, remembered=0):
                await sender.round(NOW_MS + 1)
            await sender.round(NOW_MS + 2)
