"""Measures and events: from a COPY into staging to rows, pages and buckets."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import asyncpg
import pytest

from ingest.config import RetentionSettings
from ingest.migrate import migrate
from ingest.storage.engine import load_engine, to_ms
from tests.support.databases import Database, connect
from tests.support.pushed import Event, Measure, copy, item, make_room, push
from tests.support.sql_api import Api
from tests.support.sql_samples import samples_of

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
MICROSECOND, SECOND, MINUTE, HOUR, DAY = (
    timedelta(microseconds=1),
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
PAGE = "SELECT * FROM internal.pushed_page($1, $2, $3, $4, $5, $6, $7, $8, $9)"
BUCKETS = "SELECT internal.measure_buckets($1, $2, $3, $4, $5::text::interval, $6)"
AWKWARD = {
    "text": 'é "quoted" \\ \u2028 😀',
    "large": 2**63 + 1,
    "nested": [{"a": [None, True, []]}, {}],
    "tiny": 1e-300,
}


async def page(
    api: Api,
    kind: str,
    shape: str = "flat",
    name: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    attributes: Any = None,
    limit: int = 100,
    after: tuple[datetime | None, uuid.UUID | None] = (None, None),
) -> tuple[list[Any], tuple[datetime | None, uuid.UUID | None]]:
    """Items of a page, numbers as decimals, and where the next one begins."""
    wanted = None if attributes is None else json.dumps(attributes)
    arguments = (kind, shape, name, since, until, wanted, limit, *after)
    (row,) = await api.connection.fetch(PAGE, *arguments)
    return json.loads(row["body"], parse_float=Decimal), (row["next_time"], row["next_id"])


async def buckets(
    api: Api,
    width: str,
    name: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    attributes: Any = None,
    limit: int | None = 100,
) -> list[Any]:
    """Buckets, newest first, numbers as decimals."""
    wanted = None if attributes is None else json.dumps(attributes)
    body = await api.connection.fetchval(BUCKETS, name, since, until, wanted, width, limit)
    found: list[Any] = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    return found


async def count(api: Api, table: str) -> int:
    """Rows of a table of schema app."""
    return int(await api.connection.fetchval(f"SELECT count(*) FROM app.{table}"))


@asynccontextmanager
async def as_tenant(api: Api, tenant_id: int) -> AsyncIterator[None]:
    """Read as this tenant inside the block."""
    await api.connection.execute(f"SET promgres.tenant_id = '{tenant_id}'")
    yield
    await api.connection.execute("SET promgres.tenant_id = ''")


def text(time: datetime) -> str:
    """As bodies spell it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


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
            assert engine.accepted_since_ms(store, now_ms) == to_ms(today - 29 * DAY)
        for store in ("internal", "histogram"):
            assert engine.accepted_since_ms(store, now_ms) < to_ms(today - 50 * DAY)
        for _ in range(5):  # eight partitions a round
            await engine.work(samples.pool)
        if engine.name == "timescaledb":
            await run_retention(samples.connection)
        api = Api(engine_db, samples.connection)
        kept = [text(today - n * DAY) for n in days if n <= 30]
        for store in ("event", "measure"):
            (items, _) = await page(api, store)
            assert [one["time"] for one in items] == kept
        assert await count(api, "idempotency") == 0


async def run_retention(connection: asyncpg.Connection) -> None:
    """TimescaleDB: the retention jobs, now."""
    jobs = await connection.fetch(
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'"
    )
    for job in jobs:
        await connection.execute(f"CALL run_job({job['job_id']})")


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


async def test_pages_neither_skip_nor_repeat(api: Api) -> None:
    """Most times are those of others, over days; items come in while somebody reads."""
    random = Random(7)
    times = [NOW - random.choice((0, 0, 1, 24, 700)) * HOUR for _ in range(200)]
    events = [
        Event(time, random.choice("ab"), {"n": n % 3, "all": n}, item(random.getrandbits(128)))
        for n, time in enumerate(times)
    ]
    await push(api, *events)
    newest_first = sorted(events, key=lambda one: (one.time, one.item_id), reverse=True)
    for filters, wanted in [
        ({}, newest_first),
        ({"name": "a"}, [one for one in newest_first if one.name == "a"]),
        (
            {"attributes": {"n": 1}, "since": NOW - DAY, "until": NOW},
            [e for e in newest_first if e.attributes["n"] == 1 and NOW - DAY <= e.time < NOW],
        ),
    ]:
        seen: list[int] = []
        after: Any = (None, None)
        for limit in (1, 2, 13, *[17] * 20):
            items, after = await page(api, "event", limit=limit, after=after, **filters)  # type: ignore[arg-type]
            seen += [one["attributes"]["all"] for one in items]
            await push(api, Event(NOW + SECOND, "a", {"n": 1, "all": -1}))
            if after == (None, None):
                break
            assert len(items) == limit
        assert seen == [one.attributes["all"] for one in wanted]
        await api.connection.execute("DELETE FROM app.event WHERE attributes @> '{\"all\": -1}'")


async def test_a_full_last_page_is_the_last(api: Api) -> None:
    assert await page(api, "measure") == ([], (None, None))
    await push(api, *(Measure(NOW + n * SECOND, "a") for n in range(4)))
    _, after = await page(api, "measure", limit=2)
    items, after = await page(api, "measure", limit=2, after=after)
    assert (len(items), after) == (2, (None, None))


async def test_shapes_keep_every_digit(api: Api) -> None:
    await push(
        api,
        Measure(NOW, 'Näme "q"', 0.1, attributes=AWKWARD),
        Measure(NOW - MICROSECOND, "b", 1e300, "1" * 301 + ".50"),
        Measure(NOW - 2 * MICROSECOND, "c", 2.0**53, str(2**53 + 1), attributes=[1]),
        Measure(NOW - 3 * MICROSECOND, "d", -0.0),
        Measure(NOW - 4 * MICROSECOND, "e", 5e-324),
    )
    await push(api, Event(NOW, "e", None), Event(NOW - SECOND, "f", AWKWARD))
    await api.connection.execute("SET extra_float_digits = -5; SET timezone = 'Asia/Kathmandu'")
    flat, _ = await page(api, "measure")
    older, _ = await page(api, "measure", "older")
    values = [one["value"] for one in flat]
    assert values == [
        Decimal("0.1"), Decimal("1" * 301 + ".5"), 2**53 + 1, 0, Decimal(repr(5e-324)),
    ]  # fmt: skip
    assert flat[0] == {
        "time": text(NOW),
        "name": 'Näme "q"',
        "value": Decimal("0.1"),
        "attributes": AWKWARD | {"tiny": Decimal("1e-300")},
    }
    assert flat[1]["time"] == text(NOW - MICROSECOND)
    assert older == [
        {
            "d": {
                "name": one["name"],
                "measurement": one["value"],
                "dict": one["attributes"],
            },
            "insertion_time": one["time"],
        }
        for one in flat
    ]
    events, _ = await page(api, "event", "older")
    assert events[0] == {"d": {"name": "e", "dict": None}, "insertion_time": text(NOW)}
    assert (await page(api, "event"))[0][0] == {
        "time": text(NOW), "name": "e", "attributes": None,
    }  # fmt: skip


async def test_attributes_are_matched_by_containment(api: Api) -> None:
    stored = [{"a": 1, "b": {"c": [1, 2, {"d": "x"}]}}, {"a": "1"}, {"a": None}, [1, 2], {}]
    await push(api, *(Event(NOW + n * SECOND, "e", one) for n, one in enumerate(stored)))

    async def found(attributes: Any) -> list[int]:
        items, _ = await page(api, "event", attributes=attributes)
        return sorted(stored.index(one["attributes"]) for one in items)

    assert await found({"a": 1}) == [0]
    assert await found({"a": 1.0}) == [0]
    assert await found({"a": "1"}) == [1]
    assert await found({"a": None}) == [2]
    assert await found({"b": {"c": [{"d": "x"}]}}) == [0]
    assert await found({"b": {"c": [3]}}) == []
    assert await found([2]) == [3]
    assert await found({}) == [0, 1, 2, 4]


async def test_buckets_are_exact(api: Api) -> None:
    start = NOW.replace(minute=0, second=0)
    exact = "987654321098765432101.5"
    await push(
        api,
        Measure(start, "m", 0.1, item_id=item(1)),
        Measure(start + SECOND, "m", 0.2, attributes={"host": "a"}),
        Measure(start + 2 * SECOND, "m", 5, item_id=item(9)),
        Measure(start + 2 * SECOND, "m", 6, item_id=item(3)),
        Measure(start - SECOND, "m", 9.8e20, exact, attributes={"host": "a"}),
        Measure(start - 2 * SECOND, "M", 3),
        Measure(start - 700 * DAY, "m", 1e308),
        Measure(start - 700 * DAY + SECOND, "m", 1e308),
    )
    hour, before = text(start), text(start - HOUR)

    def bucket(start: str, name: str, *numbers: Any) -> dict[str, Any]:
        keys = ("count", "sum", "min", "max", "avg", "last")
        given = (Decimal(number) for number in numbers)
        return {"bucket": start, "name": name, **dict(zip(keys, given, strict=True))}

    first = bucket(hour, "m", 4, "11.3", "0.1", 6, "2.825", 5)
    second = bucket(before, "m", 1, exact, exact, exact, exact, exact)
    upper = bucket(before, "M", 1, 3, 3, 3, 3, 3)
    assert (await buckets(api, "1 hour"))[:3] == [first, upper, second]
    (oldest,) = (await buckets(api, "1 hour", "m"))[2:]
    assert oldest["sum"] == 2 * Decimal("1e308")
    assert await buckets(api, "1 hour", limit=2) == [first, upper]
    assert await buckets(api, "1 hour", "m", attributes={"host": "a"}, limit=None) == [
        bucket(hour, "m", 1, *["0.2"] * 5), second,
    ]  # fmt: skip
    since, until = start - SECOND, start + 2 * SECOND
    assert await buckets(api, "1 day", "m", since, until, limit=None) == (
        [
            bucket(
                text(start.replace(hour=0)),
                "m",
                3,
                "987654321098765432101.8",
                "0.1",
                exact,
                Decimal("987654321098765432101.8") / 3,
                "0.2",
            )
        ]
        if start.hour
        else [
            bucket(hour, "m", 2, "0.3", "0.1", "0.2", "0.15", "0.2"),
            bucket(text(start - DAY), "m", 1, *[exact] * 5),
        ]
    )
    assert await buckets(api, "1 month", "none") == []
    rows = await api.rows("get_measure_buckets('1 hour', 'm', p_limit => 1)")
    assert rows == [(start, "m", 4, "11.3", "0.1", "6", "2.825", "5")]


async def test_a_limit_shows_the_newest_of_all_buckets(api: Api) -> None:
    random = Random(3)
    times = [NOW - timedelta(seconds=10 ** random.uniform(0, 7)) for _ in range(120)]
    await push(api, *(Measure(time, random.choice("abc"), 1) for time in times))
    for width in ("7 seconds", "1 day", "1 month", "1 year", "9999 years"):
        everything = await buckets(api, width, limit=None)
        assert sum(one["count"] for one in everything) == 120
        order = [(one["bucket"], one["name"]) for one in everything]
        assert len(set(order)) == len(order)
        assert sorted(order, key=lambda key: (key[0], -ord(key[1])), reverse=True) == order
        for limit in (0, 1, 5, 50):
            assert await buckets(api, width, limit=limit) == everything[:limit]


async def test_infinities_enter_no_sum_and_nan_nothing(api: Api) -> None:
    await push(
        api,
        Measure(NOW, "a", float("inf")),
        Measure(NOW + MICROSECOND, "a", 2),
        Measure(NOW, "b", float("-inf")),
        Measure(NOW, "c", float("nan")),
    )
    rows = await api.rows("get_measure_buckets('1 second')")
    assert [row[1:] for row in rows] == [
        ("a", 2, "2", "2", "Infinity", "2", "2"),
        ("b", 1, None, *["-Infinity"] * 2, None, "-Infinity"),
    ]
    assert [one["avg"] for one in await buckets(api, "1 second")] == [2, None]


async def test_no_function_shows_another_tenants_items(api: Api) -> None:
    other = await api.connection.fetchval(
        "INSERT INTO app.tenant (name) VALUES ('other') RETURNING tenant_id"
    )
    key: dict[str, Any] = {"item_id": item(1), "key_decides": True}
    for tenant_id in (1, other):
        mine: dict[str, Any] = {"tenant_id": tenant_id, "attributes": {"of": tenant_id}}
        assert await push(api, Event(NOW, "same", **mine, **key)) == 1
        assert await push(api, Measure(NOW, "same", tenant_id, **mine, **key)) == 1
    for tenant_id in (1, other):
        async with as_tenant(api, tenant_id):
            for kind in ("event", "measure"):
                items, _ = await page(api, kind, name="same")
                assert [one["attributes"] for one in items] == [{"of": tenant_id}]
                assert await page(api, kind, attributes={"of": 3 - tenant_id}) == ([], (None, None))
            assert [one["max"] for one in await buckets(api, "1 hour")] == [tenant_id]
            assert [row[3] for row in await api.rows("get_measures()")] == [
                json.dumps({"of": tenant_id})
            ]
            assert len(await api.rows("get_events()")) == 1
            assert len(await api.rows("get_measure_buckets('1 hour')")) == 1
    async with as_tenant(api, 999):
        for kind in ("event", "measure"):
            assert await page(api, kind) == ([], (None, None))
        assert await buckets(api, "1 hour") == []
        for call in ("get_measures()", "get_events()", "get_measure_buckets('1 hour')"):
            assert await api.rows(call) == []


async def test_functions_of_the_api_page_and_filter(api: Api) -> None:
    await push(
        api,
        *(Measure(NOW, "m", n, attributes={"n": n}, item_id=item(n)) for n in range(5)),
        Measure(NOW - DAY, "M", 1, "0.10", item_id=item(9)),
    )
    rows = await api.rows("get_measures(p_limit => 4)")
    assert [row[2] for row in rows] == ["4", "3", "2", "1"]
    assert await api.rows("get_measures(p_before_time => $1, p_before_id => $2)", NOW, item(1)) == [
        (NOW, "m", "0", '{"n": 0}', item(0)),
        (NOW - DAY, "M", "0.1", "{}", item(9)),
    ]
    filtered = "get_measures('m', $1, $2, '{\"n\": 3}', NULL)"
    assert [row[2] for row in await api.rows(filtered, NOW, NOW + SECOND)] == ["3"]
    assert await api.rows(filtered, NOW - DAY, NOW) == []
    await push(api, Event(NOW, "e", {"a": 1}, item(1)), Event(NOW, "f"))
    assert await api.rows("get_events('e')") == [(NOW, "e", '{"a": 1}', item(1))]


async def test_what_makes_no_sense_is_refused(api: Api) -> None:
    for kind, shape in (("idempotency", "flat"), ("event", "sideways")):
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await page(api, kind, shape)
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await buckets(api, "-1 hour")
