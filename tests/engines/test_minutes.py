"""Packed minutes: every rollup says what it said, whoever reads, packs, or comes late."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from ingest.migrate import migrate
from tests.engines.sql_api import Api
from tests.support.blocks import switch_off, switch_on
from tests.support.databases import Database, connect
from tests.support.sql_samples import Row, Samples, samples_of

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - timedelta(days=3)
PACK = "SELECT internal.pack_minutes($1, $2, '0')"
ROUNDS = int(os.environ.get("PROMGRES_EXAMPLES", "15"))
PACKED = "SELECT count(*) FROM internal.packed_1m"
ROWS = "SELECT count(*) FROM internal.stored_1m"
PARTS = """
SELECT metric_id, bucket, samples, sum::text, encode(float8send(min), 'hex'),
    encode(float8send(max), 'hex'), last_key::text, encode(float8send(last_key[3]), 'hex'),
    exact_max::text, exact_last_key::text
FROM internal.parts_{width} ORDER BY 1, 2
"""
"""All that readers and coarser widths are made of: bits, digits, whose the newest sample was."""


@pytest_asyncio.fixture
async def samples(postgres_db: Database) -> AsyncIterator[Samples]:
    async with samples_of(postgres_db) as opened:
        yield opened


async def pack(
    connection: asyncpg.Connection,
    most: int = 500,
    before: datetime = TODAY,
    target: str = "internal",
) -> int:
    """All that there is to pack; how many minutes (and looks at hours with nothing in them)."""
    done = 0
    while packed := await connection.fetchval(PACK, most, before):
        done += packed
    return done


async def said(connection: asyncpg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that rollups say."""
    return {
        width: [tuple(row) for row in await connection.fetch(PARTS.format(width=width))]
        for width in ("1m", "1h", "1d")
    }


async def fill(samples: Samples, start: datetime = START, hours: int = 7) -> None:
    """Metrics of each kind: constant, counted, with gaps, odd numbers, exact, hardly there; all of
    it rows, and packing switched on."""
    names = ("constant", "counter", "gaps", "odd", "exact", "few", "scattered", "infinite")
    ids = {name: await samples.series(name) for name in names}
    second = await samples.series("counter", a="2")
    odd = [-0.0, 0.0, math.inf, -math.inf, 1e308, 5e-324, 0.1, 1 / 3]
    rows: list[Row] = []
    for n in range(60 * hours):
        at = start + n * MINUTE
        rows += [
            (at + timedelta(seconds=7), ids["constant"], 42.0, None),
            (at + timedelta(seconds=37), ids["constant"], 42.0, None),
            (at + timedelta(seconds=n % 50, microseconds=n), ids["counter"], float(n), None),
            (at + timedelta(seconds=n % 47), second, float(n // 2), None),
            (at, ids["odd"], odd[n % 8], None),
            (at + timedelta(seconds=1), ids["odd"], odd[n // 8 % 8] or 2.0, None),
            (at, ids["exact"], float(n), Decimal(10) ** 20 + n if n % 3 else None),
            (at + timedelta(seconds=2), ids["exact"], 1.0, Decimal("1.50") if n % 5 == 0 else None),
            (at, ids["infinite"], math.inf, None),
        ]
        if n % 7 < 4:
            rows.append((at, ids["gaps"], 0.5, None))
        if n % 90 == 0:
            rows.append((at, ids["few"], 1.0, None))
        if n % 15 == 0:
            rows.append((at + timedelta(microseconds=1), ids["scattered"], n / 7, None))
    await samples.copy(rows)
    await switch_off(samples.connection)
    await samples.settle()
    await switch_on(samples.connection)


async def test_everything_reads_as_it_did(samples: Samples) -> None:
    await fill(samples)
    before = await said(samples.connection)
    rows = await samples.connection.fetchval(ROWS)

    # A piece: some metrics are packed, others are not.
    assert await samples.connection.fetchval(PACK, 2, TODAY) > 0
    assert await said(samples.connection) == before
    done = await pack(samples.connection)

    assert await said(samples.connection) == before
    left = await samples.connection.fetch(
        "SELECT DISTINCT m.name FROM internal.stored_1m JOIN internal.metric m USING (metric_id)"
    )
    assert [row["name"] for row in left] == ["few"], "two minutes in three hours stay rows"
    assert await samples.connection.fetchval(PACKED) == 3 * 7
    assert done > rows / 2
    constant = await samples.connection.fetchrow(
        "SELECT p.* FROM internal.packed_1m p JOIN internal.metric m USING (metric_id)"
        " WHERE m.name = 'constant' ORDER BY span LIMIT 1"
    )
    assert constant is not None
    assert set(list(constant.values())[7:]) == {None}, "what is always the same has no arrays"


async def test_by_period_it_says_the_same_as_by_view(samples: Samples) -> None:
    await fill(samples)
    await pack(samples.connection)
    edges = [
        (START, START + 7 * HOUR), (START + 61 * MINUTE, START + 200 * MINUTE),
        (START + 180 * MINUTE, START + 360 * MINUTE), (START + MINUTE, START + 2 * MINUTE),
        (START - HOUR, START), (datetime(2001, 1, 1, tzinfo=UTC), TODAY),
    ]  # fmt: skip
    for lo, hi in edges:
        by_period = await samples.connection.fetch(
            "SELECT r.* FROM internal.rollup_1m_between(1, '{common}', ARRAY(SELECT name FROM"
            " internal.metric), $1, $2) AS r ORDER BY name, bucket", lo, hi)  # fmt: skip
        by_view = await samples.connection.fetch(
            "SELECT * FROM internal.rollup_1m WHERE bucket >= $1 AND bucket < $2"
            " ORDER BY name, bucket", lo, hi)  # fmt: skip
        assert [tuple(row) for row in by_period] == [tuple(row) for row in by_view], (lo, hi)
    everything = await samples.connection.fetchval(
        "SELECT count(*) FROM internal.minutes_between('-infinity', 'infinity')"
    )
    assert everything == await samples.connection.fetchval("SELECT count(*) FROM internal.parts_1m")


async def test_late_samples_and_duplicates_of_packed_minutes(samples: Samples) -> None:
    """A minute more, a minute changed, a copy; what is recomputed is what a refresh would say."""
    await fill(samples)
    await pack(samples.connection)
    counter, gaps = await samples.series("counter"), await samples.series("gaps")
    at = START + 64 * MINUTE
    before = await said(samples.connection)
    await samples.copy([
        (at + timedelta(seconds=1), counter, 1e6, None),
        (at, gaps, 0.5, None),  # none so far in this minute
        (START + timedelta(seconds=0), counter, 0.0, None),  # is there
    ])  # fmt: skip
    live = await said(samples.connection)
    assert live != before
    await samples.connection.fetchval("SELECT internal.rollup_work('24 hours', 'infinity')")

    assert await said(samples.connection) == live
    packed = await samples.connection.fetchval(PACKED)
    assert packed == 3 * 7 - 2, "these two metrics' first three hours are rows again, no others"
    await pack(samples.connection)
    assert await samples.connection.fetchval(PACKED) == 3 * 7
    assert await said(samples.connection) == live

    # All of it from raw samples.
    await samples.connection.fetchval("SELECT internal.mark_period($1, $2)", START, TODAY)
    assert await said(samples.connection) == live
    await samples.settle()
    await pack(samples.connection)
    assert await said(samples.connection) == live
    assert await samples.connection.fetchval(PACKED) == 3 * 7


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_a_reader_sees_each_minute_once(samples: Samples, isolation: Any) -> None:
    await fill(samples)
    before = await said(samples.connection)
    async with connect(samples.database) as packer, connect(samples.database) as reader:
        async with reader.transaction(isolation=isolation, readonly=True):
            assert await said(reader) == before
            async with packer.transaction():
                await packer.fetchval(PACK, 500, TODAY)
                assert await said(reader) == before
            assert await said(reader) == before
            await pack(packer)
            assert await said(reader) == before
        assert await said(reader) == before


async def test_killed_while_packing(samples: Samples) -> None:
    await fill(samples)
    before = await said(samples.connection)
    async with connect(samples.database) as packer:
        await packer.execute("BEGIN")
        assert await packer.fetchval(PACK, 500, TODAY) > 1
        pid = await packer.fetchval("SELECT pg_backend_pid()")
        await samples.connection.fetchval("SELECT pg_terminate_backend($1, 60000)", pid)
    assert await samples.connection.fetchval(PACKED) == 0
    assert await said(samples.connection) == before
    await pack(samples.connection)
    assert await samples.connection.fetchval(PACKED) > 0
    assert await said(samples.connection) == before


COUNTED = """
SELECT m.name, date_bin('1 minute', x.time, '2000-01-03Z') AS bucket, count(*) AS samples,
    sum(x.value::text::numeric) AS sum, min(x.value) AS min, max(x.value) AS max
FROM internal.sample AS x JOIN internal.series USING (series_id)
JOIN internal.metric AS m USING (metric_id) GROUP BY 1, 2 ORDER BY 1, 2
"""


async def test_beside_senders_worker_and_kills(samples: Samples) -> None:
    """Every snapshot's minutes are what its samples add up to, while late ones come, the worker and
    packing take turns, and their backends are killed."""
    chance = random.Random(13)
    ids = [await samples.series(f"m{n}") for n in range(4)]
    await samples.copy([(START + n * MINUTE, one, 1.0, None) for n in range(400) for one in ids])
    await switch_on(samples.connection)
    busy: set[int] = set()
    done = asyncio.Event()
    packed = 0

    async def work(call: str) -> None:
        nonlocal packed
        killed = (
            asyncpg.AdminShutdownError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError,
            asyncpg.InternalClientError, ConnectionError,
        )  # fmt: skip
        while not done.is_set():
            with contextlib.suppress(*killed):
                async with connect(samples.database) as connection:
                    busy.add(pid := await connection.fetchval("SELECT pg_backend_pid()"))
                    try:
                        while not done.is_set():
                            taken = await connection.fetchval(call)
                            packed += taken if "pack" in call else 0
                    finally:
                        busy.discard(pid)

    async def compare() -> None:
        async with connect(samples.database) as reader:
            while not done.is_set():
                async with reader.transaction(isolation="repeatable_read", readonly=True):
                    expected = await reader.fetch(COUNTED)
                    found = await reader.fetch(
                        "SELECT name, bucket, samples, sum, min, max FROM internal.rollup_1m"
                        " ORDER BY 1, 2"
                    )
                    assert [tuple(row) for row in found] == [tuple(row) for row in expected]

    others = [
        asyncio.create_task(work("SELECT internal.rollup_work('24 hours', 'infinity')")),
        asyncio.create_task(work("SELECT internal.pack_minutes(2, 'infinity', '0')")),
        asyncio.create_task(compare()),
    ]
    try:
        for _ in range(ROUNDS):
            before = packed
            for _ in range(3):
                at = START + chance.randrange(400 * 60) * timedelta(seconds=1)
                await samples.copy([(at, chance.choice(ids), float(chance.randrange(9)), None)])
            if chance.random() < 0.3 and busy:
                victim = chance.choice(sorted(busy))
                await samples.connection.execute("SELECT pg_terminate_backend($1)", victim)
            async with asyncio.timeout(60):
                while packed == before:  # while marks come nothing is packed
                    assert not any(task.done() for task in others), others
                    await asyncio.sleep(0)
    finally:
        done.set()
        await asyncio.gather(*others)
    await samples.settle()
    await pack(samples.connection)
    assert await samples.connection.fetchval(ROWS) == 0
    expected = await samples.connection.fetch(COUNTED)
    found = await samples.connection.fetch("SELECT * FROM internal.rollup_1m ORDER BY name, bucket")
    assert [row["sum"] for row in found] == [row["sum"] for row in expected]


async def test_one_at_a_time_and_not_under_marks(samples: Samples) -> None:
    await fill(samples, hours=3)
    series = await samples.series("counter")
    async with connect(samples.database) as worker, worker.transaction():
        await worker.fetchval("SELECT internal.rollup_work()")  # holds the lock of workers
        assert await pack(samples.connection) == 0
    await samples.copy([(START + timedelta(seconds=59), series, 3.0, None)])
    assert await pack(samples.connection) == 0, "that minute waits for the worker"
    await samples.settle()
    assert await pack(samples.connection) > 0


async def test_what_late_samples_touched_is_packed_together(samples: Samples) -> None:
    """Ten minutes after the first of it; what has never been packed does not wait for that."""
    await fill(samples, hours=3)
    assert await samples.connection.fetchval("SELECT internal.minutes_behind()") > 2 * 86400
    await pack(samples.connection)
    assert await samples.connection.fetchval("SELECT internal.minutes_behind()") == 0
    late = (START + timedelta(seconds=59), await samples.series("odd"), 3.0, None)
    await samples.copy([late])
    await fill(samples, start=START + 6 * HOUR, hours=3)
    first, then = START, START + 6 * HOUR
    spans = "SELECT count(DISTINCT metric_id) FROM internal.packed_1m WHERE span = $1"
    by_default = "SELECT internal.pack_minutes(500, $1)"
    while await samples.connection.fetchval(by_default, TODAY):
        pass
    assert await samples.connection.fetchval(spans, first) == 6
    assert await samples.connection.fetchval(spans, then) == 7
    await samples.connection.execute(
        "UPDATE internal.packed_minutes SET unpacked_from = now() - interval '601 s'"
    )
    while await samples.connection.fetchval(by_default, TODAY):
        pass
    assert await samples.connection.fetchval(spans, first) == 7


async def test_off_leaves_rows_and_what_is_packed_stays_readable(samples: Samples) -> None:
    await fill(samples, hours=3)
    before = await said(samples.connection)
    await pack(samples.connection)
    await switch_off(samples.connection)
    assert await said(samples.connection) == before
    await samples.copy([(START + timedelta(seconds=59), await samples.series("odd"), 3.0, None)])
    await samples.settle()
    assert await pack(samples.connection) == 0
    assert await samples.connection.fetchval(ROWS) > 180


async def test_the_newest_hours_stay_rows(samples: Samples) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    series = await samples.series("m")
    await switch_on(samples.connection)
    await samples.copy([(now - n * MINUTE, series, 1.0, None) for n in range(300)])
    await samples.settle()
    while await samples.connection.fetchval("SELECT internal.pack_minutes()"):
        pass  # which the daemon does every 20 s, at once only where something else is packed, too
    oldest = await samples.connection.fetchval("SELECT min(bucket) FROM internal.stored_1m")
    assert now - 5 * HOUR < oldest <= now - HOUR
    assert await samples.connection.fetchval(PACKED) > 0
    assert len(await samples.rollup("1m", "m")) == 300


async def test_retention_drops_packed_minutes(postgres_db: Database) -> None:
    settings = postgres_db.settings()
    async with samples_of(postgres_db) as samples:
        old, new = TODAY - timedelta(days=20), TODAY - timedelta(days=2)
        await fill(samples, start=old, hours=3)
        await fill(samples, start=new, hours=3)
        await pack(samples.connection)
        hours = (await said(samples.connection))["1h"]
        await migrate(
            postgres_db.url,
            settings.model_copy(
                update={"retention": settings.retention.model_copy(update={"internal_days": 10})}
            ),
        )
        await switch_on(samples.connection)
        await samples.connection.fetchval("SELECT internal.drop_expired_partitions('internal', 99)")
        while await samples.connection.fetchval("SELECT internal.drop_expired_minutes(5)"):
            pass
        spans = await samples.connection.fetch("SELECT DISTINCT span FROM internal.packed_1m")
        assert [row["span"] for row in spans] == [new]
        after = await said(samples.connection)
        assert min(row[1] for row in after["1m"]) == new
        assert after["1h"] == hours, "hours stay"


ASKED = (
    "api.get_agg_metric('odd', 'common', '1 minute', $1, $2)",
    "api.get_agg_metric('exact', 'common', '7 minutes', $1, $2)",
    "api.get_agg_metric('exact', 'common', '1 day', $1, $2)",
    "api.get_agg_cumsum_metric('web_requests', 'cumsum', '1 minute', $1, $2)",
    "api.get_agg_cumsum_metric('web_requests', 'cumsum', '1 hour', $1, $2)",
    "api.query_metric('counter', NULL, '{}', 'sum', '1 minute', $1, $2)",
    "api.query_metric('counter', NULL, '{}', 'last', '5 minutes', $1, $2)",
    "internal.prometheus_common_1m WHERE bucket >= $1 AND bucket < $2",
    "cumsum.all_metrics_minute WHERE bucket >= $1 AND bucket < $2",
)


async def test_functions_and_readers_hear_what_they_heard(samples: Samples) -> None:
    """Of both targets, in whole and crooked periods; a login for people with SQL its tenant's."""
    requests = await samples.series("web_requests", "cumsum", "cumsum")
    await samples.copy([(START + n * MINUTE, requests, n / 3, None) for n in range(400)], "cumsum")
    await fill(samples)
    reader = await asyncpg.connect(
        samples.database.url.replace("postgresql://postgres@", "postgresql://promgres_reader@")
    )
    seen = "SELECT * FROM {}.rollup_1m WHERE bucket >= $1 AND bucket < $2 ORDER BY name, bucket"

    async def answers() -> list[list[tuple[Any, ...]]]:
        asked = [(samples.connection, f"SELECT * FROM {question}") for question in ASKED]
        asked += [(reader, seen.format(target)) for target in ("internal", "cumsum")]
        return [
            sorted(map(tuple, await connection.fetch(query, lo, hi)), key=repr)
            for connection, query in asked
            for lo, hi in (
                (START, START + 8 * HOUR),
                (START + 61.5 * MINUTE, START + 5 * HOUR + timedelta(seconds=7)),
            )
        ]

    try:
        before = await answers()
        assert all(before)
        await pack(samples.connection)
        while await samples.connection.fetchval("SELECT cumsum.pack_minutes(1, $1)", TODAY):
            pass
        assert await samples.connection.fetchval("SELECT count(*) FROM cumsum.packed_1m") == 3
        assert await answers() == before
    finally:
        await reader.close()


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]


async def explained(connection: asyncpg.Connection, query: str, *arguments: object) -> Any:
    [plan] = json.loads(
        await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {query}", *arguments)
    )
    return plan["Plan"]


async def test_a_day_of_one_metric_is_a_few_pages(postgres_api: Api) -> None:
    """By period at most 40 pages; by view a filter on time reaches what is packed."""
    connection = postgres_api.connection
    await switch_on(connection)
    await connection.execute(
        """
        INSERT INTO internal.metric (tenant_id, target, schema, name)
        SELECT 1, 'internal', 'common', 'm' || n FROM generate_series(1, 30) AS n;
        INSERT INTO internal.stored_1m
        SELECT metric_id, bucket, 4, n, n % 11, n, ARRAY[
            date_part('epoch', bucket - timestamptz '2000-01-03Z') + 57, metric_id, n]
        FROM internal.metric, generate_series(0, 10 * 1440 - 1) AS n,
            LATERAL (SELECT timestamptz '2026-01-05Z' + n * interval '1 minute' AS bucket) AS b
        """
    )
    async with asyncio.timeout(120):
        await pack(connection)
    await connection.execute(
        "VACUUM ANALYZE internal.stored_1m, internal.packed_1m, internal.minute"
    )
    day = datetime(2026, 1, 9, tzinfo=UTC)
    plan = await explained(
        connection,
        "SELECT * FROM internal.minutes_between($1, $2) WHERE metric_id ="
        " (SELECT metric_id FROM internal.metric WHERE name = 'm7')",
        day, day + timedelta(days=1),
    )  # fmt: skip
    assert plan["Actual Rows"] == 1440
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 40

    # By view, all metrics: of the calendar's 14,400 minutes the hour's are looked at.
    plan = await explained(
        connection, "SELECT * FROM internal.rollup_1m WHERE bucket >= $1 AND bucket < $2",
        day, day + HOUR,
    )  # fmt: skip
    assert plan["Actual Rows"] == 60 * 30
    [calendar] = [node for node in nodes(plan) if node.get("Relation Name") == "minute"]
    assert calendar["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan")
    assert calendar["Actual Rows"] * calendar["Actual Loops"] <= 60 * 30


async def test_debians_postgresql_packs_them_too(german_samples: Samples) -> None:
    await fill(german_samples, hours=3)
    before = await said(german_samples.connection)
    await pack(german_samples.connection, most=3)
    assert await german_samples.connection.fetchval(PACKED) == 7
    assert await said(german_samples.connection) == before
