"""What a database refuses for ever is rejected, and holds up nothing; all else is kept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ingest.config import ReceiverSettings, WriterSettings
from ingest.errors import Unavailable
from ingest.intake.quotas import UNLIMITED
from ingest.metrics import TenantNames
from ingest.model import DEFAULT_TENANT_ID, Counts, Intake, Rejection, Series, SeriesId
from ingest.series.cache import SeriesCache
from ingest.storage import database as storage
from ingest.storage.engine import DAY_MS
from ingest.storage.engines import load_engine
from ingest.storage.pool import create_pool
from ingest.writer.ledger import Ledger
from ingest.writer.pipeline import Pipeline
from tests.support.databases import Database, execute
from tests.support.rows import rows_of

NOW_MS = time.time_ns() // 1_000_000


class Sender:
    """Puts samples into the write pipeline of a daemon, and waits for what becomes of them."""

    def __init__(self, pipeline: Pipeline, ledger: Ledger, ids: list[SeriesId]) -> None:
        self._pipeline = pipeline
        self._ledger = ledger
        self._ids = ids

    async def send(self, *samples: tuple[int, int, float]) -> list[Rejection]:
        """One request of (number of a series, time in ms, value)."""
        rows = rows_of(*[(self._ids[number], at_ms, value) for number, at_ms, value in samples])
        intake = Intake(known={"internal": rows}, sent=Counts(samples=len(rows)))
        self._ledger.receive(intake)
        return await self._pipeline.write(intake, self._ledger.begin(intake))


@asynccontextmanager
async def sender_to(database: Database) -> AsyncIterator[Sender]:
    """The write side from here to the database, closed at the end of the block."""
    settings = database.settings()
    pool = await create_pool(database.url, settings.database, "test")
    async with pool.acquire() as connection:
        engine = await load_engine(connection, settings)
    ledger = Ledger(TenantNames(lambda _: "default"))
    writing = storage.Database(pool)
    names = [f"refused_{number}" for number in range(4)]
    series = [
        Series(name.encode().ljust(16), DEFAULT_TENANT_ID, "internal", "common", name, ())
        for name in names
    ]
    ids = await writing.resolve_series(series)
    pipeline = Pipeline(
        writing,
        engine,
        SeriesCache(1000),
        ledger,
        WriterSettings(),
        ReceiverSettings(),
        UNLIMITED,
    )
    pipeline.start()
    yield Sender(pipeline, ledger, [*ids.values()])
    await pipeline.stop()
    await pool.close()


async def test_samples_of_a_dropped_partition_are_rejected(postgres_db: Database) -> None:
    """The daemon learned its retention at its start; somebody has shortened it since."""
    async with sender_to(postgres_db) as sender:
        await execute(
            postgres_db.url,
            "UPDATE internal.target SET dropped_before = date_trunc('day', now()) - interval '9 d'",
        )
        rejections = await sender.send(
            (1, NOW_MS - 20 * DAY_MS, 1.0), (2, NOW_MS - 8 * DAY_MS, 1.0), (2, NOW_MS, 1.0)
        )
    [rejection] = rejections
    assert rejection.samples == 1
    assert "are gone" in rejection.reason


async def test_a_disabled_trigger_rejects_nothing(engine_db: Database) -> None:
    """`pg_restore --disable-triggers` leaves them so when it is interrupted."""
    async with sender_to(engine_db) as sender:
        twice, once, again = (1, NOW_MS, 1.0), (2, NOW_MS, 1.0), (3, NOW_MS, 1.0)
        await sender.send(twice)
        await sender.send(twice, once)
        await execute(engine_db.url, "ALTER TABLE staging_internal.sample DISABLE TRIGGER USER")
        with pytest.raises(Unavailable):
            await sender.send(twice, again)
        await execute(engine_db.url, "ALTER TABLE staging_internal.sample ENABLE TRIGGER USER")
        assert await sender.send(twice, again) == []
