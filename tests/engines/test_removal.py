"""Series of which nothing is left are removed, and whoever remembers them hears of it in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import asyncpg
import pytest

from ingest.config import Settings
from ingest.intake.remote_write import Decoder
from ingest.model import DEFAULT_TENANT_ID, Intake, Series, SeriesId, TenantId
from ingest.moving.target import Report, open_target
from ingest.series.cache import SeriesCache, place_of
from ingest.series.identity import identity_of
from ingest.storage import database as storage
from ingest.storage.life import Life, LifeEnded, WentBack
from ingest.storage.pool import create_pool
from ingest.wire.remote_write.negotiate import Message
from tests.support.databases import Database, connect, execute
from tests.support.messages import payload, series

NOW = datetime.now(UTC)
NOBODYS = """
SELECT count(*) FROM (
    SELECT series_id FROM internal.sample UNION ALL SELECT series_id FROM cumsum.sample
) AS x WHERE NOT EXISTS (SELECT FROM internal.series s WHERE s.series_id = x.series_id)
"""


def series_of(name: str, target: str = "internal", tenant: int = 1) -> Series:
    labels = (("__name__", name),)
    identity = identity_of(TenantId(tenant), target, "common", labels)
    return Series(identity, TenantId(tenant), target, "common", name, labels)


class Daemon:
    """What a daemon remembers, and what it asks of the database with."""

    def __init__(self, cache: SeriesCache, life: Life, database: storage.Database) -> None:
        self.cache = cache
        self.life = life
        self.database = database

    async def learn(self, *series: Series) -> list[SeriesId]:
        """Ids, which it remembers from then on."""
        ids = await self.database.resolve_series(series)
        for one in series:
            self.cache.remember(one, ids[one.identity])
        return [ids[one.identity] for one in series]

    def knows(self, series: Series) -> bool:
        return self.cache.id_of(series.identity) is not None

    async def write(self, series_id: int) -> None:
        """A sample, by the way of staging."""
        async with self.database._transaction() as connection, connection.transaction():
            await put(connection, "internal", series_id)
            await connection.execute(self.database.end().sql)


@asynccontextmanager
async def daemon_of(database: Database) -> AsyncIterator[Daemon]:
    cache = SeriesCache(1000)
    life = Life(cache)
    pool = await create_pool(database.url, database.settings().database, "test", life.check)
    try:
        async with pool.acquire():
            pass
        yield Daemon(cache, life, storage.Database(pool, life=life))
    finally:
        pool.terminate()


async def ensure(connection: asyncpg.Connection, *stores: str) -> None:
    """Somewhere for rows of this moment, where the engine does not make it by itself."""
    function = "'internal.ensure_partitions(text, timestamptz, timestamptz)'"
    if await connection.fetchval(f"SELECT to_regprocedure({function}) IS NOT NULL"):
        for store in stores:
            call = "SELECT internal.ensure_partitions($1, $2, $2)"
            await connection.execute(call, store, NOW)


async def put(connection: asyncpg.Connection, target: str, series_id: int) -> None:
    """A sample of this moment."""
    await ensure(connection, target)
    await connection.execute(
        f"INSERT INTO staging_{target}.sample (time, series_id, value) VALUES ($1, $2, 1)",
        NOW,
        series_id,
    )


async def remove(connection: asyncpg.Connection, most: int = 1000) -> list[int]:
    """One way through all series; ids that were removed."""
    before = {row[0] for row in await connection.fetch("SELECT series_id FROM internal.series")}
    last: int | None = 0
    while last is not None:
        last = await connection.fetchval(
            "SELECT last FROM internal.doom_series($1, $2, interval '0')", last, most
        )
        await connection.execute("SELECT internal.remove_doomed($1)", most)
    after = {row[0] for row in await connection.fetch("SELECT series_id FROM internal.series")}
    return sorted(before - after)


@pytest.mark.parametrize("most", [1, 2, 1000])
async def test_only_what_is_empty_goes_with_its_starts(engine_db: Database, most: int) -> None:
    names = ["full", "empty", "histogram", "exemplar", "other"]
    series = [*map(series_of, names), series_of("sum", "cumsum"), series_of("gone", "geo")]
    async with daemon_of(engine_db) as daemon, connect(engine_db) as connection:
        ids = await daemon.learn(*series)
        full, empty, histogram, exemplar, other, total, gone = ids
        await put(connection, "internal", full)
        await put(connection, "cumsum", total)
        if engine_db.engine == "postgres":
            for store in ("histogram", "exemplar"):
                await connection.execute(
                    "SELECT internal.ensure_partitions($1, $2, $2)", store, NOW
                )
        await connection.execute(
            "INSERT INTO internal.exemplar VALUES ($1, $2, 1, '{}', 0)", NOW, exemplar
        )
        await connection.execute(
            f"INSERT INTO internal.{engine_db.histograms_in} (time, series_id, schema, is_float,"
            " is_stale, count, sum, zero_threshold, zero_count, positive_indexes, positive_counts,"
            " negative_indexes, negative_counts, reset_hint)"
            " VALUES ($1, $2, 0, false, false, 0, 0, 0, 0, '{}', '{}', '{}', '{}', 0)",
            NOW,
            histogram,
        )
        for each in ids:
            await connection.execute("INSERT INTO internal.series_start VALUES ($1, $2)", each, NOW)
        assert await remove(connection, most) == sorted([empty, other, gone])
        starts = await connection.fetch("SELECT series_id FROM internal.series_start ORDER BY 1")
        assert [row[0] for row in starts] == sorted([full, histogram, exemplar, total])
        assert await remove(connection, most) == []
        assert await connection.fetchval("SELECT count(*) FROM internal.doomed_series") == 0


async def test_young_series_stay(engine_db: Database) -> None:
    async with daemon_of(engine_db) as daemon, connect(engine_db) as connection:
        await daemon.learn(series_of("young"), series_of("old"))
        await connection.execute(
            "UPDATE internal.series SET created_at = NULL WHERE name = 'old'"  # of an older version
        )
        doom = "SELECT (doomed, last) FROM internal.doom_series(0, 10, interval '1 hour')"
        assert await connection.fetchval(doom) == (0, None), "an older version may write yet"
        await connection.execute("UPDATE internal.migration SET applied_at = '2024-01-01'")
        assert await connection.fetchval(doom) == (1, None)
        assert await connection.fetchval("SELECT internal.remove_doomed(10)") == 1
        assert await connection.fetchval("SELECT name FROM internal.series") == "young"


async def test_every_daemon_forgets_what_was_removed_and_nothing_else(engine_db: Database) -> None:
    kept, gone = series_of("kept"), series_of("gone")
    async with (
        daemon_of(engine_db) as one,
        daemon_of(engine_db) as other,
        connect(engine_db) as connection,
    ):
        kept_id, gone_id = await one.learn(kept, gone)
        await other.learn(gone, kept)
        await put(connection, "internal", kept_id)
        assert await remove(connection) == [gone_id]
        for daemon in (one, other):
            before = daemon.cache.generation
            assert daemon.knows(gone)
            with pytest.raises(LifeEnded):
                await daemon.write(gone_id)
            assert daemon.knows(kept)
            assert not daemon.knows(gone)
            assert daemon.cache.ended_since(before) == {gone_id}
        assert await connection.fetchval(NOBODYS) == 0
        [again] = await one.learn(gone)
        assert await other.learn(gone) == [again]
        assert again != gone_id
        await one.write(again)


async def test_who_asks_for_a_doomed_series_keeps_it(engine_db: Database) -> None:
    wanted, idle = series_of("wanted"), series_of("idle")
    async with daemon_of(engine_db) as daemon, connect(engine_db) as connection:
        ids = await daemon.learn(wanted, idle)
        assert (
            await connection.fetchval("SELECT internal.doom_series(0, 9, interval '0')") is not None
        )
        assert await connection.fetchval("SELECT count(*) FROM internal.doomed_series") == 2
        with pytest.raises(LifeEnded):
            await daemon.write(ids[0])
        assert await daemon.learn(wanted) == ids[:1]
        assert await connection.fetchval("SELECT internal.remove_doomed(9)") == 1
        await daemon.write(ids[0])
        assert await daemon.learn(wanted) == ids[:1]
        assert await connection.fetchval(NOBODYS) == 0


async def test_what_was_written_before_it_was_doomed_is_seen(postgres_db: Database) -> None:
    """A transaction that passed the question holds the lock until it is committed."""
    async with daemon_of(postgres_db) as daemon, connect(postgres_db) as other:
        [series_id] = await daemon.learn(series_of("late"))
        async with daemon.database._transaction() as connection:
            ending = connection.transaction()
            await ending.start()
            await put(connection, "internal", series_id)
            await connection.execute(daemon.database.end().sql)
            dooming = asyncio.create_task(
                other.fetchval("SELECT doomed FROM internal.doom_series(0, 9, interval '0')")
            )
            async with connect(postgres_db) as watcher, asyncio.timeout(60):
                waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
                while not await watcher.fetchval(waits) and not dooming.done():
                    await watcher.execute("SELECT pg_sleep(0.02)")
            await ending.commit()
        try:
            assert await dooming == 1
        except asyncpg.LockNotAvailableError:  # it waits for a second at most
            assert await other.fetchval("SELECT count(*) FROM internal.doomed_series") == 0
        assert await other.fetchval("SELECT internal.remove_doomed(9)") == 0
        assert await other.fetchval("SELECT count(*) FROM internal.series") == 1


async def test_what_is_not_migrated_is_asked_for_without_an_error(postgres_db: Database) -> None:
    """A replay asks twice a second: each error would be a line of the server's log."""
    async with connect(postgres_db) as connection, connection.transaction():
        await connection.execute("ALTER FUNCTION internal.enrol_writer RENAME TO enrol_later")
        life = Life(SeriesCache(10))
        with pytest.raises(asyncpg.UndefinedFunctionError):
            await life.begin(connection)
        # After an error of the server nothing would be answered in this transaction.
        await connection.execute("ALTER FUNCTION internal.enrol_later RENAME TO enrol_writer")
        await life.begin(connection)
        assert await life.renew(connection)


async def test_who_removes_is_waited_for(postgres_db: Database) -> None:
    async with daemon_of(postgres_db) as daemon, connect(postgres_db) as remover:
        [old] = await daemon.learn(series_of("back"))
        await remover.execute("SELECT internal.doom_series(0, 9, interval '0')")
        removing = remover.transaction()
        await removing.start()
        assert await remover.fetchval("SELECT internal.remove_doomed(9)") == 1
        asking = asyncio.create_task(daemon.learn(series_of("back")))
        async with connect(postgres_db) as watcher, asyncio.timeout(60):
            waits = (
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            while not await watcher.fetchval(waits):
                await watcher.execute("SELECT pg_sleep(0.02)")
        await removing.commit()
        with pytest.raises(LifeEnded):  # the life that it knew
            await asking
        [new] = await daemon.learn(series_of("back"))
        assert new != old


async def test_an_import_goes_on_under_ids_of_now(engine_db: Database) -> None:
    """Between what it read and what it stored its series were empty, and removed."""
    now_ms = int(NOW.timestamp()) * 1000

    async def decode(timestamp_ms: int) -> Intake:
        sent = payload(series({"name": "imported"}, (timestamp_ms, 1.0)))
        return decoder.decode(Message.V1, sent, DEFAULT_TENANT_ID, now_ms)

    async with (
        open_target(engine_db.settings(), dry_run=False) as target,
        connect(engine_db) as connection,
    ):
        decoder, report = Decoder(target.router, target.cache, target.limits), Report()
        await target.store(await decode(now_ms - 1000), report)
        read = await decode(now_ms)
        assert not read.new
        await connection.execute(f"DELETE FROM internal.{engine_db.samples_in}")
        [removed] = await remove(connection)
        await target.store(read, report, partial(decode, now_ms))
        assert (report.read, report.stored, report.present) == (2, 2, 0)
        [stored] = await connection.fetch("SELECT series_id, time FROM internal.sample")
        assert stored["series_id"] > removed
        assert await connection.fetchval(NOBODYS) == 0
        # Who asks for ids hears of it, too, and asks again.
        await connection.execute(f"DELETE FROM internal.{engine_db.samples_in}")
        assert await remove(connection) == [stored["series_id"]]
        other = series_of("other")
        assert (await target.ids([other]))[other.identity] > stored["series_id"]


@pytest.mark.parametrize("statement", ["DELETE FROM internal.series", "TRUNCATE internal.series"])
async def test_series_that_are_deleted_by_hand_are_forgotten(
    engine_db: Database, statement: str
) -> None:
    async with daemon_of(engine_db) as daemon:
        [series_id] = await daemon.learn(series_of("gone"))
        await execute(engine_db.url, "DELETE FROM internal.series WHERE name = 'nobody'")
        await daemon.write(series_id)
        await execute(engine_db.url, statement)
        with pytest.raises(LifeEnded):
            await daemon.write(series_id)
        assert not daemon.knows(series_of("gone"))
        await daemon.learn(series_of("gone"))


async def test_an_older_mark_is_an_older_database(engine_db: Database) -> None:
    """All that a copy of the disk brings back is the same, but for what writers wrote since."""
    async with daemon_of(engine_db) as daemon, connect(engine_db) as connection:
        await daemon.learn(series_of("early"))
        mark = await connection.fetchval("SELECT mark FROM internal.writer")
        [series_id] = await daemon.learn(series_of("late"))
        await connection.execute("UPDATE internal.writer SET mark = $1", mark)
        with pytest.raises(LifeEnded):
            await daemon.write(series_id)
        assert not daemon.knows(series_of("early"))
        assert daemon.cache.ended_since(0) is None
        await daemon.write((await daemon.learn(series_of("late")))[0])


async def test_another_cluster_or_timeline_is_another_life(engine_db: Database) -> None:
    async with daemon_of(engine_db) as daemon, connect(engine_db) as connection:
        [series_id] = await daemon.learn(series_of("here"))
        life = await connection.fetchval("SELECT internal.life_of_data()")
        for part in range(5):
            words = life.split()
            words[part] += "1"
            daemon.life._life = " ".join(words)
            with pytest.raises(WentBack):
                await daemon.life.check(connection)
            assert not daemon.knows(series_of("here"))
            await daemon.life.check(connection)
            assert await daemon.learn(series_of("here")) == [series_id]


async def test_metrics_go_when_neither_series_nor_rollup_is_left(engine_db: Database) -> None:
    async with daemon_of(engine_db) as daemon, connect(engine_db) as connection:
        names = ["seen_total", "used_count", "used_sum", "rolled"]
        ids = await daemon.learn(*map(series_of, names))
        await put(connection, "internal", ids[2])
        for name in ("seen", "used", "rolled"):
            await connection.execute(
                "INSERT INTO staging_internal.metadata (first_seen, tenant_id, name, type, unit,"
                " help) VALUES ($1, 1, $2, 'counter', '', '')",
                NOW,
                name,
            )
        if engine_db.engine == "postgres":
            await connection.execute(
                "INSERT INTO internal.stored_1d (metric_id, bucket, samples, sum, min, max,"
                " last_key) SELECT metric_id, '2024-01-01', 1, 1, 1, 1, '{1,1,1}'"
                " FROM internal.metric WHERE name = 'rolled'"
            )
        assert await remove(connection) == sorted([ids[0], ids[1], ids[3]])
        metrics = "SELECT array_agg(name ORDER BY name) FROM internal.metric"
        kept = ["rolled", "used_sum"] if engine_db.engine == "postgres" else ["used_sum"]
        assert await connection.fetchval("SELECT internal.remove_metrics(9)") == 4 - len(kept)
        assert await connection.fetchval(metrics) == kept
        said = await connection.fetch("SELECT name FROM internal.metadata ORDER BY 1")
        assert [row[0] for row in said] == [each.removesuffix("_sum") for each in kept]
        with pytest.raises(LifeEnded):  # it is told again what was said
            await daemon.write(ids[2])
        assert await connection.fetchval("SELECT internal.remove_metrics(9)") == 0
        await daemon.learn(*map(series_of, names))
        assert await connection.fetchval(metrics) == sorted(names)


def test_the_cache_forgets_by_place_and_keeps_its_order() -> None:
    cache = SeriesCache(4)
    series = [series_of(f"s{number}") for number in range(4)]
    for number, one in enumerate(series):
        cache.remember(one, SeriesId(number + 1))
        cache.link(bytes([number]) * 16, place_of("internal", SeriesId(number + 1)))
    cache.forget([SeriesId(2), SeriesId(99)])
    assert [cache.id_of(one.identity) for one in series] == [1, None, 3, 4]
    assert cache.place_by_key(b"\x01" * 16) < 0
    for number in (5, 6):  # the first that came goes first
        cache.remember(series_of(f"new{number}"), SeriesId(number))
    assert [cache.id_of(one.identity) for one in series] == [None, None, 3, 4]
    assert cache.ended_since(0) == {2, 99}
    cache.clear()
    assert cache.ended_since(0) is None is cache.ended_since(1)


def test_settings_say_whether() -> None:
    assert Settings(_env_file=None).writer.remove_series
