"""Measures and events, from a COPY into staging to rows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from ingest.config import RetentionSettings
from ingest.migrate import migrate
from ingest.storage.engine import to_ms
from ingest.storage.engines import load_engine
from tests.engines.record_rows import Event, Measure, copy, item, make_room, page, push, text
from tests.engines.sql_api import Api
from tests.support.databases import Database, connect
from tests.support.sql_samples import drop_expired, samples_of

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)


async def count(api: Api, table: str) -> int:
    """Rows of a table of schema app."""
    return int(await api.connection.fetchval(f"SELECT count(*) FROM app.{table}"))


async def test_of_one_tenant_time_and_id_the_first_stays(api: Api) -> None:
    for make in (Event, Measure):
        first = [make(NOW, "a", attributes={"n": n}, item_id=item(n)) for n in range(5)]
        assert await push(api, *first, make(NOW, "b", item_id=item(1))) == 5
        assert await push(api, *first) == 0
        again = [make(NOW, "other", item_id=one.item_id) for one in first]
        others = [make(NOW + SECOND, "a", item_id=item(1)), make(NOW, "a", tenant_id=2)]
        assert await push(api, *again[::-1], *others) == 2
        (items, _) = await page(api, make.kind, name="a", until=NOW + SECOND)
        assert [one["attributes"] for one in items] == [{"n": n} for n in (4, 3, 2, 1, 0)]
        await api.connection.execute("SET promgres.duplicates = 'likely'")
        assert await push(api, *first, make(NOW, "new")) == 1
        await api.connection.execute("RESET promgres.duplicates")
        assert await count(api, make.kind) == 8


async def test_a_key_decides_where_the_sender_gave_no_time(api: Api) -> None:
    for make in (Event, Measure):

        def keyed(minutes: int, key: int, tenant_id: int = 1, make: Any = make) -> Any:
            time = NOW + minutes * MINUTE
            return make(time, "a", item_id=item(key), key_decides=True, tenant_id=tenant_id)

        unkeyed = make(NOW, "a", item_id=item(1))
        assert await push(api, keyed(3, 1), keyed(2, 1), keyed(5, 2), unkeyed) == 3
        # Again later; a replay of what was stored, to the bit; another tenant's key; a new one.
        assert await push(api, keyed(9, 1), keyed(2, 1), keyed(5, 2)) == 0
        assert await push(api, keyed(9, 1, 2), keyed(9, 3), keyed(9, 2)) == 2
        (items, _) = await page(api, make.kind)
        assert [one["time"] for one in items] == [text(NOW + n * MINUTE) for n in (9, 5, 2, 0)]
    assert await count(api, "idempotency") == 8  # each store has keys of its own


async def test_two_writers_of_the_same_keys_never_deadlock(postgres_db: Database) -> None:
    events = [
        Event(NOW + n * SECOND, "a", {"n": n}, item(n), key_decides=n % 2 == 0) for n in range(400)
    ]
    later = [Event(NOW + HOUR, "a", {"n": n}, item(n), key_decides=n % 2 == 0) for n in range(400)]
    measures = [Measure(NOW, f"m{n}", item_id=item(n)) for n in range(400)]
    batches: list[list[Any]] = [events, later, measures]

    async def write(seed: int) -> int:
        random, written = Random(seed), 0
        async with connect(postgres_db) as connection:
            for batch in batches:
                mixed = random.sample(batch, len(batch))
                written += await copy(Api(postgres_db, connection), mixed)
        return written

    async with connect(postgres_db) as connection:
        api = Api(postgres_db, connection)
        for kind in ("event", "measure"):
            await make_room(api, kind, [NOW, NOW + HOUR])
        assert sum(await asyncio.gather(*(write(seed) for seed in range(8)))) == 1000
        assert await count(api, "measure_name") == 400


async def test_names_are_noted_once(api: Api) -> None:
    await push(api, Measure(NOW, "Queue.LÄNGE"), Measure(NOW, "queue.länge"), Measure(NOW, "b"))
    await push(api, Measure(NOW, "b"), Measure(NOW, "b", target="cumsum", schema="cumsum"))
    await push(api, Measure(NOW, "b", tenant_id=2))
    rows = await api.connection.fetch(
        "SELECT tenant_id, target, metric, schema, name FROM app.measure_name"
        " ORDER BY 1, 2, 3, 4, 5"
    )
    assert [tuple(row) for row in rows] == [
        (1, "cumsum", "b", "cumsum", "b"),
        (1, "internal", "b", "common", "b"),
        (1, "internal", "queue.lÄnge", "common", "Queue.LÄNGE"),
        (1, "internal", "queue.länge", "common", "queue.länge"),
        (2, "internal", "b", "common", "b"),
    ]


async def test_keys_are_forgotten_after_a_week(api: Api) -> None:
    old = [Event(NOW - n * DAY, "a", item_id=item(n), key_decides=True) for n in range(10)]
    await push(api, *old)
    forget = "SELECT internal.drop_expired_idempotency($1)"
    assert [await api.connection.fetchval(forget, 2) for _ in range(3)] == [2, 1, 0]
    assert await push(api, Event(NOW, "a", item_id=item(6), key_decides=True)) == 0
    assert await push(api, Event(NOW, "a", item_id=item(9), key_decides=True)) == 1


async def test_retention_is_their_own(engine_db: Database) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = range(0, 60, 5)
    async with connect(engine_db) as connection:
        api = Api(engine_db, connection)
        for make in (Event, Measure):
            await push(api, *(make(today - n * DAY, "a", item_id=item(n)) for n in days))
        await push(api, Event(today - 50 * DAY, "k", key_decides=True))
    retention = RetentionSettings(internal_days=None, app_days=30, compress_after_days=None)
    await migrate(engine_db.url, engine_db.settings(retention=retention))
    async with samples_of(engine_db) as samples:
        engine = await load_engine(samples.connection, engine_db.settings())
        now_ms = to_ms(today + HOUR)
        for store in ("event", "measure"):
            assert engine.horizons.start_ms(store, now_ms) == to_ms(today - 29 * DAY)
        for store in ("internal", "histogram"):
            assert engine.horizons.start_ms(store, now_ms) < to_ms(today - 50 * DAY)
        for _ in range(20):  # two partitions of each a round
            await engine.work(samples.pool)
        if engine.name == "timescaledb":
            await drop_expired(samples.connection)
        api = Api(engine_db, samples.connection)
        kept = [text(today - n * DAY) for n in days if n <= 30]
        for store in ("event", "measure"):
            (items, _) = await page(api, store)
            assert [one["time"] for one in items] == kept
        assert await count(api, "idempotency") == 0


async def test_late_items_reach_compressed_chunks(timescale_db: Database) -> None:
    async with connect(timescale_db) as connection:
        api = Api(timescale_db, connection)
        for make in (Event, Measure):
            old = [
                make(NOW - 20 * DAY, f"n{n % 7}", attributes={"n": n}, item_id=item(n))
                for n in range(99)
            ]
            await push(api, *old[:90])
            before, _ = await page(api, make.kind)
            chunks = f"SELECT compress_chunk(c) FROM show_chunks('app.{make.kind}') AS c"
            await connection.execute(chunks)
            assert (await page(api, make.kind))[0] == before
            assert await push(api, *old) == 9
            assert len((await page(api, make.kind))[0]) == 99
