"""Rollups hold every committed sample exactly: at once, and after the background work too."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from ingest.migrate import migrate
from tests.support.databases import Database, connect
from tests.support.sql_samples import Row, Samples, plain, samples_of

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
LATE = TODAY - timedelta(days=31)
NAN = math.nan
STALE: float = struct.unpack("!d", bytes.fromhex("7ff0000000000002"))[0]
ALL = ("samples", "sum", "min", "max", "last", "exact_max", "exact_last")
WIDTHS = ("1m", "1h", "1d")


def take_marks_alone(samples: Samples) -> None:
    """No work of other kinds, where a test counts marks: nothing is packed, no hours are made."""
    samples.engine._packing_due = math.inf  # type: ignore[attr-defined]


@pytest.fixture
async def samples(engine_db: Database) -> AsyncIterator[Samples]:
    async with samples_of(engine_db) as opened:
        yield opened


def at(seconds: float, day: datetime = LATE) -> datetime:
    return day + timedelta(seconds=seconds)


async def expect(samples: Samples, name: str, *row: object, **where: str) -> None:
    """One bucket of every width, with these values."""
    for width in WIDTHS:
        assert plain(await samples.rollup(width, name, **where), *ALL) == [row], width


@pytest.mark.parametrize("settled", [False, True], ids=["live", "stored"])
@pytest.mark.parametrize(
    ("values", "row"),
    [
        ([1e308, 1e308], (2, 2 * Decimal(10) ** 308, 1e308, 1e308, 1e308)),
        ([0.1, 0.2], (2, Decimal("0.3"), 0.1, 0.2, 0.2)),
        ([math.inf, 5.0, -math.inf], (3, Decimal(5), -math.inf, math.inf, -math.inf)),
        ([math.inf], (1, None, math.inf, math.inf, math.inf)),
        ([3.0, NAN, STALE], (1, Decimal(3), 3.0, 3.0, 3.0)),
        ([5e-324, -5e-324], (2, Decimal(0), -5e-324, 5e-324, -5e-324)),
        ([1.353e20], (1, Decimal(135300000000000000000), 1.353e20, 1.353e20, 1.353e20)),
    ],
    ids=["huge", "decimal", "infinities", "infinity", "nan", "denormal", "shortest"],
)  # fmt: skip
async def test_numeric_edges(
    samples: Samples, values: list[float], row: tuple[object, ...], settled: bool
) -> None:
    series = await samples.series("m")
    await samples.copy([(at(n), series, value, None) for n, value in enumerate(values)])
    if settled:
        await samples.settle()
    await expect(samples, "m", *row, None, None)


async def test_a_bucket_of_nothing_but_nan_has_no_row(samples: Samples) -> None:
    series = await samples.series("m")
    await samples.copy([(at(0), series, STALE, Decimal("NaN")), (at(1), series, NAN, None)])
    for _ in range(2):
        for width in WIDTHS:
            assert await samples.rollup(width, "m") == []
        await samples.settle()


async def test_exact_values_of_twenty_one_digits(samples: Samples) -> None:
    one, two = await samples.series("m", a="1"), await samples.series("m", a="2")
    low, high = Decimal("987654321098765432101"), Decimal("987654321098765432102")
    rows: list[Row] = [
        (at(0), one, 9e20, high),
        (at(1), two, 9.9e20, low),
        (at(2), one, 1e30, None),
        (at(3), one, STALE, Decimal("NaN")),
    ]
    await samples.copy(rows)
    total = Decimal("1000000001975308642197530864203")
    row = (3, total, 9e20, 1e30, 1e30, high, low)
    await expect(samples, "m", *row)
    await samples.settle()
    await expect(samples, "m", *row)


async def test_last_is_the_newest_then_the_largest_series(samples: Samples) -> None:
    first, second = await samples.series("m", a="1"), await samples.series("m", a="2")
    assert first < second
    rows: list[Row] = [
        (at(59.999999), second, 7.0, Decimal(70)),
        (at(59.999999), first, 8.0, Decimal(80)),
        (at(59.999998), second, 9.0, Decimal(90)),
    ]
    await samples.copy(rows)
    for _ in range(2):
        for width in WIDTHS:
            [row] = await samples.rollup(width, "m")
            assert (row["last"], row["exact_last"]) == (7.0, Decimal(70))
        await samples.settle()


async def test_late_samples_reach_stored_buckets(samples: Samples) -> None:
    series = await samples.series("m")
    await samples.copy([(at(0), series, 1.0, None), (at(90_000), series, 1.0, None)])
    await samples.settle()
    for n in range(1, 4):
        await samples.copy([(at(10 * n), series, float(n), None)])
        await samples.settle()
        for width in WIDTHS:
            assert plain(await samples.rollup(width, "m"), "samples")[0] == (n + 1,), width


async def test_a_backfill_of_hours_is_in_every_width(samples: Samples) -> None:
    series = await samples.series("m")
    other = await samples.series("other")
    await samples.copy([(at(60 * n), other, 1.0, None) for n in range(90)])
    await samples.settle()
    await samples.copy([(at(60 * n), series, 1.0, None) for n in range(3000)])
    await samples.settle()
    await samples.copy([(at(60 * n + 30), series, 1.0, None) for n in range(3000)])
    await samples.settle()
    for width, buckets in zip(WIDTHS, (3000, 50, 3), strict=True):
        rows = await samples.rollup(width, "m")
        assert len(rows) == buckets
        assert sum(row["samples"] for row in rows) == 6000
        assert sum(row["samples"] for row in await samples.rollup(width, "other")) == 90


async def test_a_backfill_is_seen_at_once_on_engine_postgres(postgres_db: Database) -> None:
    """Live hours and days are computed from marks of whole hours and of single minutes alike."""
    async with samples_of(postgres_db) as samples:
        series = await samples.series("m")
        await samples.copy([(at(60 * n), series, 1.0, None) for n in range(3000)])
        for _ in range(2):
            for width, buckets in zip(WIDTHS, (3000, 50, 3), strict=True):
                rows = await samples.rollup(width, "m")
                assert len(rows) == buckets
                assert sum(row["samples"] for row in rows) == 3000
            await samples.settle()
        await samples.copy([(at(60 * n + 1), series, 1.0, None) for n in range(30)])
        for width in WIDTHS:
            assert sum(row["samples"] for row in await samples.rollup(width, "m")) == 3030


async def test_samples_of_this_minute_and_of_the_future(samples: Samples) -> None:
    series = await samples.series("m")
    now = datetime.now(UTC)
    rows = [(now + timedelta(minutes=n), series, 1.0, None) for n in range(-3, 10)]
    await samples.copy(rows)
    for _ in range(2):
        for width in WIDTHS:
            found = await samples.rollup(width, "m")
            assert sum(row["samples"] for row in found) == len(rows), width
        await samples.settle()
    await samples.copy([(now + timedelta(seconds=1), series, 1.0, None)])
    for width in WIDTHS:
        found = await samples.rollup(width, "m")
        assert sum(row["samples"] for row in found) == len(rows) + 1, width


async def test_tenants_schemas_and_targets_do_not_mix(samples: Samples) -> None:
    for schema in ("mainnet", "testnet"):
        for target in ("internal", "cumsum"):
            series = await samples.series("m", schema=schema, target=target)
            await samples.copy([(at(0), series, 1.0, None)], target)
    for _ in range(2):
        for schema in ("mainnet", "testnet"):
            for target in ("internal", "cumsum"):
                row = (1, Decimal(1), 1.0, 1.0, 1.0, None, None)
                await expect(samples, "m", *row, schema=schema, target=target)
        await samples.settle()


async def test_a_mark_that_comes_while_the_worker_runs_stays(postgres_db: Database) -> None:
    async with samples_of(postgres_db) as samples, connect(postgres_db) as worker:
        take_marks_alone(samples)
        series = await samples.series("m")
        await samples.copy([(at(0), series, 1.0, None)])
        transaction = worker.transaction()
        await transaction.start()
        assert await worker.fetchval("SELECT internal.rollup_work()") == 1
        await samples.copy([(at(1), series, 1.0, None)])
        assert await samples.engine.work(samples.pool) == 0  # the other one is at it
        await transaction.commit()
        for width in WIDTHS:
            assert plain(await samples.rollup(width, "m"), "samples") == [(2,)]
        assert await samples.engine.work(samples.pool) == 1
        for width in WIDTHS:
            assert plain(await samples.rollup(width, "m"), "samples") == [(2,)]


async def test_the_worker_holds_up_no_new_metric(postgres_db: Database) -> None:
    async with samples_of(postgres_db) as samples, connect(postgres_db) as worker:
        series = await samples.series("m")
        await samples.copy([(at(0), series, 1.0, None)])
        async with worker.transaction():
            assert await worker.fetchval("SELECT internal.rollup_work()") == 1
            await worker.execute("SELECT internal.drop_expired_partitions('internal')")
            await samples.connection.execute("SET lock_timeout = '1s'")
            assert await samples.series("a_new_one") > series


async def test_writers_and_workers_at_once_lose_nothing(postgres_db: Database) -> None:
    async with samples_of(postgres_db) as samples:
        series = [await samples.series("m", n=str(n)) for n in range(4)]
        await samples.copy([(at(0), series[0], 1.0, None)])

        async def write(one: int) -> None:
            async with samples_of(postgres_db) as own:
                for n in range(1, 40):
                    await own.copy([(at(7 * n + k), one, 1.0, None) for k in range(7)])

        async def work(done: asyncio.Event) -> None:
            async with connect(postgres_db) as connection:
                while not done.is_set():
                    await connection.fetchval("SELECT internal.rollup_work('1 hour')")

        done = asyncio.Event()
        workers = [asyncio.create_task(work(done)) for _ in range(2)]
        await asyncio.gather(*(write(one) for one in series))
        done.set()
        await asyncio.gather(*workers)
        await samples.settle()
        for width in WIDTHS:
            rows = await samples.rollup(width, "m")
            assert sum(row["samples"] for row in rows) == 4 * 39 * 7 + 1, width
        assert await samples.connection.fetchval("SELECT count(*) FROM internal.rollup_mark") == 0


async def test_a_year_at_a_days_step_reads_stored_days(postgres_db: Database) -> None:
    async with samples_of(postgres_db) as samples:
        series = await samples.series("m")
        await samples.copy(
            [(TODAY - timedelta(hours=n), series, 1.0, None) for n in range(24 * 360)]
        )
        await samples.settle()
        await samples.copy([(datetime.now(UTC), series, 1.0, None)])
        query = "SELECT * FROM internal.rollup_1d WHERE tenant_id = 1 AND schema = $1 AND name = $2"
        plan = await samples.connection.fetch(f"EXPLAIN {query}", "common", "m")
        assert not any("sample" in row[0] and "Scan" in row[0] for row in plan), plan
        assert len(await samples.connection.fetch(query, "common", "m")) in (361, 362)


RAW_ROWS_READ = """
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int
    FROM pg_stat_xact_all_tables WHERE schemaname = 'internal' AND relname ~ '^(hot|late|block)_p'
"""
RAW_SCANS = """
    SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::int
    FROM pg_stat_xact_all_tables WHERE schemaname = 'internal' AND relname ~ '^(hot|late|block)_p'
"""
YEAR = "api.get_agg_metric($1, 'common', '24 hours', $2, $3)"


async def _cost(samples: Samples, name: str, days: int = 360) -> tuple[int, int, int]:
    """Of a question by the day: its rows, the raw rows it reads, and the pages it touches."""
    asked = (name, TODAY - timedelta(days=days), TODAY)
    connection = samples.connection
    await connection.fetch(f"SELECT * FROM {YEAR}", *asked)  # what a session learns once
    async with connection.transaction():
        before = await connection.fetchval(RAW_ROWS_READ)  # of statements that are not counted yet
        rows = len(await connection.fetch(f"SELECT * FROM {YEAR}", *asked))
        raw_rows = await connection.fetchval(RAW_ROWS_READ) - before
    explained = await connection.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {YEAR}", *asked
    )
    plan = json.loads(explained)[0]["Plan"]
    return rows, raw_rows, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def test_a_backfill_of_one_metric_costs_the_others_nothing(postgres_db: Database) -> None:
    async with samples_of(postgres_db) as samples:
        settled, late = await samples.series("settled"), await samples.series("late")
        hours = [TODAY - timedelta(hours=n) for n in range(1, 24 * 360 + 1)]
        await samples.copy([(hour, settled, 1.0, None) for hour in hours])
        await samples.settle()
        await samples.connection.execute("VACUUM ANALYZE")
        rows, raw_rows, pages = await _cost(samples, "settled")
        assert (rows, raw_rows) == (360, 0)
        for start in range(0, len(hours), 2000):
            await samples.copy([(hour, late, 1.0, None) for hour in hours[start : start + 2000]])
        beside = await _cost(samples, "settled")
        assert beside[:2] == (360, 0)
        assert beside[2] <= max(2 * pages, 200), (pages, beside)  # raw: a page a sample


async def test_live_buckets_are_read_in_one_pass(postgres_db: Database) -> None:
    """One scan of each partition, not one a bucket: two days, and four times six hours."""
    async with samples_of(postgres_db) as samples:
        live, other = await samples.series("live"), await samples.series("other")
        minutes = [TODAY - timedelta(minutes=n) for n in range(1, 24 * 60 * 3 + 1)]
        await samples.copy([(minute, other, 1.0, None) for minute in minutes])
        await samples.settle()
        await samples.copy([(minute, live, 1.0, None) for minute in minutes])
        for width in (timedelta(hours=1), timedelta(days=1)):
            async with samples.connection.transaction():
                before = [
                    await samples.connection.fetchval(what) for what in (RAW_SCANS, RAW_ROWS_READ)
                ]
                asked = ("live", width, TODAY - timedelta(days=3), TODAY)
                rows = await samples.connection.fetch(
                    "SELECT * FROM api.get_agg_metric($1, 'common', $2, $3, $4)", *asked
                )
                assert len(rows) == timedelta(days=3) // width
                scans = await samples.connection.fetchval(RAW_SCANS) - before[0]
                read = await samples.connection.fetchval(RAW_ROWS_READ) - before[1]
                # The planner's own look at both ends of an index counts, too.
                assert scans <= 2 * (2 + 4)
                assert read <= 2 * len(minutes)


async def test_the_worker_takes_a_mark_for_its_metric_alone(postgres_db: Database) -> None:
    """And stores an hour whose other metric is still marked."""
    async with samples_of(postgres_db) as samples:
        take_marks_alone(samples)
        for name in ("one", "two"):
            series = await samples.series(name)
            await samples.copy([(at(n), series, 1.0, None) for n in range(60, 120)])
        await samples.settle()
        await samples.connection.execute("UPDATE internal.stored_1m SET samples = 7")
        await samples.copy([(at(59), await samples.series("one"), 1.0, None)])
        assert await samples.engine.work(samples.pool) == 1
        assert plain(await samples.rollup("1d", "one"), "samples") == [(8,)]
        assert plain(await samples.rollup("1d", "two"), "samples") == [(60,)]
        assert await samples.connection.fetchval("SELECT count(*) FROM internal.stored_1d") == 2


async def test_marks_of_an_earlier_version_are_about_all_metrics(postgres_db: Database) -> None:
    """Of a minute, of a whole hour, of a whole hour of some metrics: until they are worked off."""
    async with samples_of(postgres_db) as samples:
        take_marks_alone(samples)
        both = [await samples.series("one"), await samples.series("two")]
        await samples.copy([(at(3600 * n), one, 1.0, None) for one in both for n in range(3)])
        await samples.settle()
        await samples.connection.executemany(
            "INSERT INTO internal.hot VALUES ($1, $2, 1, NULL)",  # as if nobody had marked it
            [(at(3600 * n + 60), one) for one in both for n in range(3)],
        )
        assert plain(await samples.rollup("1d", "two"), "samples") == [(3,)]
        await samples.connection.executemany(
            "INSERT INTO internal.rollup_mark (hour, minute, metrics) VALUES ($1, $2, $3)",
            [(at(0), at(60), None), (at(3600), None, None), (at(7200), None, [1])],
        )
        for _ in range(2):
            for name in ("one", "two"):
                for width, buckets in zip(WIDTHS, (6, 3, 1), strict=True):
                    rows = await samples.rollup(width, name)
                    assert (len(rows), sum(row["samples"] for row in rows)) == (buckets, 6)
            await samples.settle()
        assert await samples.connection.fetchval("SELECT count(*) FROM internal.rollup_mark") == 0


OF_EARLIER_VERSIONS = (
    "take_marks(interval, timestamptz)",
    "store_minutes(timestamptz[], int[])",
    "store_1h(timestamptz[])",
    "store_1d(timestamptz[])",
    "live_1h(int, timestamptz)",
    "live_1d(int, timestamptz)",
)


async def test_functions_of_an_earlier_version_give_way(postgres_db: Database) -> None:
    """Those with other arguments, which CREATE OR REPLACE leaves beside the new ones."""
    async with connect(postgres_db) as connection:
        for function in OF_EARLIER_VERSIONS:
            await connection.execute(
                f"CREATE FUNCTION cumsum.{function} RETURNS void LANGUAGE sql AS ''"
            )
        await connection.execute(
            "DELETE FROM internal.migration WHERE file NOT LIKE '%/migrations/%'"
        )
        await migrate(postgres_db.url, postgres_db.settings())
        for function in OF_EARLIER_VERSIONS:
            found = await connection.fetchval(f"SELECT to_regprocedure('cumsum.{function}')")
            assert found is None, function


async def test_a_minute_that_still_fills_is_stored_once_a_pass(
    postgres_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with every batch; what is in none of them yet is read all the same."""
    monkeypatch.setattr("ingest.storage.engines.postgres.PASS_SECONDS", 3600.0)
    async with samples_of(postgres_db) as samples:
        take_marks_alone(samples)
        series = await samples.series("m")
        for n, taken in ((1, 1), (2, 0)):
            await samples.copy([(at(n), series, 1.0, None)])
            assert await samples.engine.work(samples.pool) == taken
            for width in WIDTHS:
                assert plain(await samples.rollup(width, "m"), "samples") == [(n,)], width
        assert await samples.engine.work(samples.pool) == 1, "the next pass"


async def test_rollups_may_be_read_within_a_serializable_snapshot(postgres_db: Database) -> None:
    """A reader that began before a batch does not see it, whatever the worker does meanwhile."""
    async with samples_of(postgres_db) as samples, connect(postgres_db) as reader:
        series = await samples.series("m")
        await samples.copy([(at(0), series, 1.0, None)])
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            assert await _samples_in(reader) == {1}
            await samples.copy([(at(1), series, 1.0, None)])
            assert await _samples_in(reader) == {1}
            await samples.settle()
            assert await _samples_in(reader) == {1}
        assert await _samples_in(reader) == {2}


async def _samples_in(connection: asyncpg.Connection) -> set[int]:
    return {
        await connection.fetchval(f"SELECT sum(samples)::int FROM internal.rollup_{width}")
        for width in WIDTHS
    }
