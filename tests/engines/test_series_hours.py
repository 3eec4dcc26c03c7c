"""Hours of series: what is read from them is what the samples say, whatever comes late."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from ingest.config import RetentionSettings, StorageSettings
from ingest.migrate import migrate
from ingest.promql.evaluate import Options, Query
from ingest.promql.parser import Features
from ingest.storage.selecting import Budget, LabelCache, find_series, select
from tests.support.blocks import steps_of, switch_off, switch_on, take_step
from tests.support.databases import Database, connect
from tests.support.hours import WAITS, make_hours
from tests.support.sql_samples import Row, Samples, samples_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - 4 * DAY
ROUNDS = int(os.environ.get("PROMGRES_EXAMPLES", "15"))
ASK = """
    SELECT "timestamp", labels::text, value
    FROM api.query_metric($1, NULL, '{*}', $2, $3, $4, $5)
"""
STEP = "SELECT internal.make_hours($1, '0', 1, $2)"
COUNT = "SELECT count(*) FROM internal.series_hour"


@pytest_asyncio.fixture
async def samples(engine_db: Database) -> AsyncIterator[Samples]:
    """Where samples stay rows: else hours are made of what is packed, and a backfill is later."""
    async with samples_of(engine_db) as opened:
        await switch_off(opened.connection)
        yield opened


async def answer(
    connection: asyncpg.Connection, aggregate: str, step: timedelta, start: datetime, end: datetime,
    name: str = "m",
) -> list[tuple[Any, ...]]:  # fmt: skip
    rows = await connection.fetch(ASK, name, aggregate, step, start, end)
    return [tuple(row) for row in rows]


async def answer_of_samples(
    connection: asyncpg.Connection, *asked: Any, name: str = "m"
) -> list[tuple[Any, ...]]:
    """The same, as if no hours had been made."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("UPDATE internal.hours_state SET made_before = '-infinity'")
        return await answer(connection, *asked, name=name)
    finally:
        await transaction.rollback()


def rows_of(
    chance: random.Random, series: int, kind: str, start: datetime, days: float
) -> list[Row]:
    """Some days of one series, with resets, gaps, and what its kind brings."""
    time, total, rows = start + chance.random() * HOUR, 0.0, []
    while time < start + days * DAY:
        total = 0.0 if chance.random() < 0.01 else total + chance.choice((0, 0.1, 1, 2.5, 1e9))
        value: float = total
        exact = None
        if kind == "odd" and chance.random() < 0.02:
            value = chance.choice((math.nan, math.inf, -math.inf))
        elif kind == "zeros":
            value = chance.choice((0.0, -0.0))
        elif kind == "exact" and chance.random() < 0.3:
            exact = Decimal(chance.randrange(10**25)) / 1000
        elif kind == "constant":
            value = 7.25
        rows.append((time, series, value, exact))
        time += timedelta(
            seconds=chance.choice((300, 300, 300, 300, 299.875)) * (1 if kind != "gaps" else 9)
        )
        if kind == "gaps" and chance.random() < 0.05:
            time += 5 * HOUR
    return rows


async def test_hours_say_what_samples_say(samples: Samples) -> None:
    """Late samples, packing and steps of making at random moments; questions with any edges."""
    chance = random.Random("hours of series")
    kinds = ("plain", "odd", "exact", "constant", "gaps", "zeros")
    ids = [await samples.series("m", kind=kind) for kind in kinds]
    every = {kind: rows_of(chance, ids[n], kind, START, 4) for n, kind in enumerate(kinds)}
    # In two schemas, and so one line of two series.
    twins = [await samples.series("m", schema=name, kind="twin") for name in ("common", "moved")]
    every["twin"] = rows_of(chance, twins[0], "plain", START, 2)
    every["twin2"] = rows_of(chance, twins[1], "plain", START + 1.5 * DAY, 2)
    waiting = []
    for rows in every.values():
        late = {row for row in rows if chance.random() < 0.03}
        waiting += list(late)
        await samples.copy([row for row in rows if row not in late])
    chance.shuffle(waiting)
    packs, with_hours = False, 0
    for round_ in range(ROUNDS):
        if samples.engine.name == "postgres" and round_ == ROUNDS // 2:
            packs = True
            await switch_on(samples.connection)
        for _ in range(chance.randrange(12)):
            await samples.connection.fetchval(STEP, TODAY, chance.choice((timedelta(0), HOUR)))
        if packs:
            for _ in range(chance.randrange(4)):
                name = chance.choice(list(steps_of("internal")))
                argument = TODAY if name == "close" else chance.choice((7, 50, 500_000))
                await take_step(samples.connection, name, argument)
        if round_ % 3 == 2:
            await samples.copy(waiting[: len(waiting) // 3 + 1])  # some of them come again
            waiting = waiting[len(waiting) // 4 + 1 :] or every["odd"][::50]
        start = START + chance.choice((0, 0, 1, 7.3)) * HOUR - chance.choice((0, 1)) * DAY
        asked = (
            chance.choice(("increase", "rate", "sum", "count", "min", "max", "avg", "last")),
            timedelta(seconds=chance.choice((1200, 3600, 5400, 21600, 86400, 5 * 86400))),
            start,
            start + chance.choice((9, 24, 60, 100)) * HOUR + chance.choice((0, 17)) * HOUR / 60,
        )
        said = await answer(samples.connection, *asked)
        assert said == await answer_of_samples(samples.connection, *asked), (round_, asked)
        with_hours += bool(said) and await samples.connection.fetchval(COUNT)
    assert with_hours > ROUNDS // 3
    await switch_off(samples.connection)
    await make_hours(samples.connection, TODAY)
    assert await samples.connection.fetchval("SELECT count(*) FROM internal.hours_mark") == 0
    assert await samples.connection.fetchval("SELECT count(*) FROM internal.hours_todo") == 0


PROMQL = [
    f"{function}(m[{range_}])"
    for function in (
        "rate", "increase", "resets", "delta", "count_over_time", "present_over_time",
        "first_over_time", "last_over_time", "min_over_time", "max_over_time",
        "sum_over_time", "changes",
    )
    for range_ in ("7h", "3d")
] + [
    'absent_over_time(m{kind="none"}[1d])', "max_over_time(m[1d] offset 7h)",
    "increase(m[1d] @ end())", "max_over_time(rate(m[6h])[1d:3h])",
    "increase(m[1d]) - delta(m[1d]) + max_over_time(m[1d])",
]  # fmt: skip


async def evaluated(
    connection: asyncpg.Connection, text: str, *moments: int
) -> tuple[dict[str, list[tuple[int, bytes]]], int]:
    """Of each series its times, and the bits of its values; and how many samples were read."""
    query = Query(text, *moments, options=Options(features=Features(experimental_functions=True)))
    budget, cache, fetched = Budget(10**7, 10**4), LabelCache(), []
    async with connection.transaction():
        for selection in query.selections:
            found = await find_series(connection, selection.matchers, budget, cache)
            fetched.append(await select(connection, found, selection, budget))
    told: dict[str, list[tuple[int, bytes]]] = {}
    answer_ = query.evaluate(fetched).samples
    for number, labels in enumerate(answer_.labels):
        mine = slice(answer_.offsets[number], answer_.offsets[number + 1])
        values = [struct.pack(">d", value) for value in answer_.values[mine].tolist()]
        told[str(labels)] = list(zip(answer_.times[mine].tolist(), values, strict=True))
    return told, 10**7 - budget.left


async def test_promql_is_the_same_to_the_bit(samples: Samples) -> None:
    """Whatever hours windows and steps cut; and where they do not, it reads less."""
    chance = random.Random("hours for PromQL")
    for kind in ("plain", "odd", "constant", "gaps", "zeros"):
        series = await samples.series("m", kind=kind)
        await samples.copy(rows_of(chance, series, kind, START, 4))
    at_ms = int((START + 3.4 * DAY).timestamp() * 1000)
    hour_ms = 3_600_000
    asked: list[tuple[str, tuple[int, ...]]] = [
        (text, moments)
        for text in PROMQL
        for moments in (
            (at_ms,),
            (int((START + 3 * DAY).timestamp() * 1000),),
            (at_ms - 60 * hour_ms, at_ms, 5 * hour_ms),
            (at_ms - 9 * hour_ms, at_ms, hour_ms),
        )
    ]  # fmt: skip
    before = [await evaluated(samples.connection, text, *moments) for text, moments in asked]
    await make_hours(samples.connection, TODAY)
    for (text, moments), (expected, of_samples) in zip(asked, before, strict=True):
        said, of_hours = await evaluated(samples.connection, text, *moments)
        assert said == expected, (text, moments)
        if text == "delta(m[3d])" and len(moments) == 1:
            assert of_hours < of_samples * 2 / 3, (moments, of_hours, of_samples)


async def test_an_hour_says_all_of_it(samples: Samples) -> None:
    series = await samples.series("m")
    values = [5, 7, 7.5, 1, math.nan, 2, -0.5]
    rows: list[Row] = [
        (START + HOUR + n * timedelta(minutes=7, milliseconds=3), series, float(value), None)
        for n, value in enumerate(values)
    ]
    await samples.copy([*rows, (START + 5 * HOUR, series, math.inf, None)])
    await make_hours(samples.connection, TODAY)
    first, second = await samples.connection.fetch(
        "SELECT * FROM internal.series_hour ORDER BY hour"
    )
    assert dict(first) == {
        "series_id": series, "tenant_id": 1, "schema": "common", "name": "m",
        "hour": START + HOUR, "samples": 6, "nans": 1, "resets": 2,
        "sum": Decimal("22"), "min": -0.5, "max": 7.5, "first": 5.0, "last": -0.5,
        "first_time": rows[0][0], "last_time": rows[-1][0],
        "increase": Decimal("-0.5") - 5 + Decimal("7.5") + 2,
    }  # fmt: skip
    assert (second["max"], second["increase"], second["samples"]) == (math.inf, None, 1)
    if samples.engine.name == "postgres":  # where sessions have rights of their own
        for tenant, seen in (("default", 2), ("other", 0)):
            await samples.connection.execute(
                "INSERT INTO app.tenant (name) VALUES ($1) ON CONFLICT DO NOTHING", tenant
            )
            await samples.connection.execute(
                "UPDATE app.reader AS r SET tenant_id = t.tenant_id FROM app.tenant AS t"
                " WHERE t.name = $1",
                tenant,
            )
            await samples.connection.execute("SET SESSION AUTHORIZATION promgres_reader")
            assert await samples.connection.fetchval(COUNT) == seen
            await samples.connection.execute("RESET SESSION AUTHORIZATION")


async def test_few_samples_and_exact_ones_make_no_hours(samples: Samples) -> None:
    few, many, exact = [await samples.series(name) for name in ("few", "many", "exact")]
    for series, count in ((few, 719), (many, 720), (exact, 900)):
        step = timedelta(seconds=90)
        await samples.copy([
            (START + n * step, series, 1.5, Decimal(n) if series == exact and n == 50 else None)
            for n in range(count)
        ])  # fmt: skip
    await make_hours(samples.connection, TODAY, least=720)
    rows = await samples.connection.fetch("SELECT DISTINCT series_id FROM internal.series_hour")
    assert [row["series_id"] for row in rows] == [many]
    row = await samples.connection.fetchrow("SELECT * FROM internal.series_hours")
    assert row is not None
    assert row["min"] is None, "the same as first"
    assert len(row["samples"]) == 24
    assert len(row["lost"]) == 1


async def test_the_worker_makes_them(samples: Samples) -> None:
    series = await samples.series("m")
    await samples.copy([(START + n * timedelta(minutes=1), series, float(n), None)
                        for n in range(1440)])  # fmt: skip
    if samples.engine.name == "timescaledb":
        job = await samples.connection.fetchval(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'make_series_hours'"
        )
        await samples.connection.execute(f"CALL run_job({job})")
    else:
        await samples.settle()
    if await samples.connection.fetchval(WAITS, "internal"):  # for an autovacuum
        await make_hours(samples.connection, TODAY)
    assert await samples.connection.fetchval(COUNT) == 24
    # What goes straight into the table says so, too.
    await samples.connection.execute(
        "SELECT internal.mark_samples('internal', ARRAY[$1::timestamptz], ARRAY[$2::bigint])",
        START + HOUR, series,
    )  # fmt: skip
    assert await samples.connection.fetchval(COUNT) == 0, "nobody reads what is marked"


async def test_marks_that_keep_coming_hold_nothing_up(samples: Samples) -> None:
    """Late samples of another series come before each step, as of a fleet that is a day behind."""
    series = await samples.series("m")
    await samples.copy([(START + n * HOUR / 4, series, float(n), None) for n in range(96)])
    await make_hours(samples.connection, TODAY)
    await samples.copy([(START + timedelta(minutes=1), series, 1.0, None)])
    made = f"{COUNT} WHERE series_id = {series}"
    assert await samples.connection.fetchval(made) == 0
    async with asyncio.timeout(60):
        for number in itertools.count():
            other = await samples.series("other", number=str(number))
            await samples.copy([(START, other, 1.0, None)])
            await samples.connection.fetchval(STEP, TODAY, timedelta(0))
            if await samples.connection.fetchval(made) == 24:
                break


async def test_writers_that_do_not_know_are_waited_for(postgres_db: Database) -> None:
    async with samples_of(postgres_db) as samples:
        await switch_off(samples.connection)
        series = await samples.series("m")
        rows: list[Row] = [(START + n * HOUR / 4, series, float(n), None) for n in range(96)]
        await samples.copy(rows)
        insert = "INSERT INTO staging_internal.sample VALUES ($1, $2, 100)"
        late = START + 3 * HOUR + timedelta(minutes=1)
        async with connect(postgres_db) as writer:
            async with writer.transaction():
                await writer.execute(insert, late, series)
                assert await writer.fetchval("SELECT count(*) FROM internal.hours_mark") == 0
                await make_hours(samples.connection, TODAY, waits=False)
                assert await samples.connection.fetchval(COUNT) == 0
            await make_hours(samples.connection, TODAY)
            asked = ("count", DAY, START, START + DAY)
            assert [row[2] for row in await answer(samples.connection, *asked)] == ["97"]
            assert await samples.connection.fetchval(COUNT) == 24

            # A reader's snapshot has hours and samples of one moment.
            async with (
                connect(postgres_db) as reader,
                reader.transaction(isolation="repeatable_read"),
            ):
                before = await answer(reader, *asked)
                async with writer.transaction():
                    await writer.execute(insert, late + timedelta(minutes=1), series)
                    assert await answer(samples.connection, *asked) == before
                    await make_hours(samples.connection, TODAY, waits=False)
                assert await samples.connection.fetchval(COUNT) == 0
                assert [row[2] for row in await answer(samples.connection, *asked)] == ["98"]
                await make_hours(samples.connection, TODAY, waits=False)
                assert await answer(reader, *asked) == before
                assert [row[2] for row in await answer(samples.connection, *asked)] == ["98"]
        await make_hours(samples.connection, TODAY)
        assert await samples.connection.fetchval(COUNT) == 24


async def test_hours_may_outlive_their_samples(postgres_db: Database) -> None:
    drop = "SELECT internal.drop_expired_partitions('internal')"
    old = TODAY - 40 * DAY
    asked = ("increase", DAY, old - DAY, TODAY)
    rows = StorageSettings(pack=False)
    async with samples_of(postgres_db) as samples:
        await switch_off(samples.connection)
        series = await samples.series("m")
        await samples.copy([(old + n * HOUR / 4, series, float(n), None) for n in range(96)])
        before = await answer(samples.connection, *asked)
        assert [row[2] for row in before] == ["95"]
        kept = RetentionSettings(internal_days=30, series_hours_days=0)
        await migrate(postgres_db.url, postgres_db.settings(retention=kept, storage=rows))
        while await samples.connection.fetchval("SELECT internal.rollup_work('1 day')"):
            pass
        assert await samples.connection.fetchval(drop) == 0, "hours need them"
        await make_hours(samples.connection, TODAY)
        while await samples.connection.fetchval(drop):
            pass
        assert await samples.connection.fetchval("SELECT count(*) FROM internal.sample") == 0
        assert await answer(samples.connection, *asked) == before
        assert await samples.connection.fetchval("SELECT internal.drop_expired_hours()") == 0

        gone = RetentionSettings(internal_days=30)
        await migrate(postgres_db.url, postgres_db.settings(retention=gone, storage=rows))
        assert await answer(samples.connection, *asked) == []
        await samples.connection.execute(
            "UPDATE internal.target SET dropped_before = date_trunc('month', now())"
        )
        assert await samples.connection.fetchval("SELECT internal.drop_expired_hours()") == 1


@pytest.mark.parametrize(
    "check",
    [test_an_hour_says_all_of_it, test_few_samples_and_exact_ones_make_no_hours],
    ids=lambda check: check.__name__,
)
async def test_debians_postgresql_does_the_same(
    german_samples: Samples, check: Callable[[Samples], Awaitable[None]]
) -> None:
    await switch_off(german_samples.connection)
    await check(german_samples)
