"""Blocks: what is packed reads as it did, to the bit; nothing is lost or doubled on the way."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from ingest.config import RetentionSettings, StorageSettings
from ingest.copy_samples import encode_samples
from ingest.errors import PromqlLimit
from ingest.migrate import migrate
from ingest.promql.matchers import Matcher
from ingest.promql.storage import Selection
from ingest.storage import selecting
from ingest.storage.database import Database as Store
from ingest.storage.database import Sought, Touched
from ingest.storage.engine import to_datetime, to_ms
from tests.engines.sql_api import Api
from tests.engines.test_prometheus_selecting import budget, selected, told
from tests.support.blocks import Stored, all_samples, close, pack, switch_off, switch_on, take_step
from tests.support.databases import Database, connect, execute
from tests.support.rows import rows_of
from tests.support.sql_samples import Row, Samples, samples_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - 3 * DAY
ALL = TODAY + DAY
"""So that everything is closed."""
MS = timedelta(milliseconds=1)
ENDS = """
SELECT internal.oldest_time($1, '-infinity', 'infinity'),
    internal.newest_time($1, '-infinity', 'infinity')
"""


def number(bits: int) -> float:
    value: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return value


ODD_NUMBERS = [
    number(0x7FF0000000000002), number(0x7FF8000000000001), number(0xFFF8000000000000),
    -0.0, float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308,
]  # fmt: skip
"""Stale, NaNs with payloads and signs, what has no digits."""


def every(seconds: float, start: datetime, count: int, series: int, first: float = 0) -> list[Row]:
    step = timedelta(seconds=seconds)
    return [(start + n * step, series, first + n, None) for n in range(count)]


@pytest_asyncio.fixture
async def samples(postgres_db: Database) -> AsyncIterator[Samples]:
    async with samples_of(postgres_db) as opened:
        await switch_on(opened.connection)
        yield opened


async def a_bit_of_everything(samples: Samples) -> None:
    regular, gap, jitter, odd, exact, micro, few = [
        await samples.series(name)
        for name in ("regular", "gap", "jitter", "odd", "exact", "micro", "few")
    ]
    rows: list[Row] = [
        *every(60, START, 1500, regular),
        *[row for n, row in enumerate(every(60, START + HOUR + 11 * MS, 400, gap)) if n % 97 != 5],
        *[(t + (n * n % 7) * MS, s, v, e) for n, (t, s, v, e) in
          enumerate(every(60, START, 300, jitter))],
        *[(START + n * HOUR, odd, value, Decimal("NaN") if n == 0 else None)
          for n, value in enumerate(ODD_NUMBERS)],
        *[(START + n * 60 * 1000 * MS, exact, float(n), Decimal(n) + Decimal("1e20"))
          if n % 3 else (START + n * 60 * 1000 * MS, exact, 1.0, None) for n in range(100)],
        *[(t + timedelta(microseconds=n % 3), s, v, e) for n, (t, s, v, e) in
          enumerate(every(90, START, 200, micro))],
        *every(6 * 3600 + 7, START, 8, few),
    ]  # fmt: skip
    await samples.copy(rows)


async def between(samples: Samples, start: datetime, end: datetime) -> Stored:
    call = f"internal.samples_between('{start.isoformat()}', '{end.isoformat()}')"
    return await all_samples(samples.connection, call)


async def blocks(samples: Samples, target: str = "internal") -> int:
    count: int = await samples.connection.fetchval(f"SELECT count(*) FROM {target}.block")
    return count


async def test_what_is_packed_reads_as_it_did(samples: Samples) -> None:
    await a_bit_of_everything(samples)
    before = await all_samples(samples.connection)
    edges = [START + n * timedelta(minutes=97, seconds=13, milliseconds=3) for n in range(0, 30, 3)]
    periods = [*itertools.pairwise(edges), (START, START + 6 * HOUR), (START, ALL),
               (START + 60 * 1000 * MS, START + 61 * 1000 * MS), (START, START)]  # fmt: skip
    await pack(samples.connection, ALL)
    assert await all_samples(samples.connection) == before
    assert await samples.connection.fetchval("SELECT count(*) FROM internal.hot") == 0
    rows = await samples.connection.fetch("SELECT count, value, steps, exact FROM internal.block")
    assert any(row["steps"] for row in rows)
    assert not all(row["steps"] for row in rows)
    for row in rows:
        assert len(row["value"]) == row["count"]
    for start, end in periods:
        expected = {key: value for key, value in before.items() if start <= key[1] < end}
        assert await between(samples, start, end) == expected, (start, end)
    infinite = await all_samples(
        samples.connection, "internal.samples_between('-infinity', 'infinity')"
    )
    assert infinite == before
    assert await all_samples(samples.connection, "internal.series_sample") == before
    for series in {series for series, _ in before}:
        numbers = [time for (id_, time), (bits, _) in before.items()
                   if id_ == series and bits[:3] not in ("7ff", "fff")]  # fmt: skip
        ends = await samples.connection.fetchrow(ENDS, series)
        assert tuple(ends or ()) == (min(numbers), max(numbers)), series


async def test_a_period_of_a_public_view_is_that_of_the_view(samples: Samples) -> None:
    """Also of a metric's view, and of one that an older version made."""
    await a_bit_of_everything(samples)
    await samples.connection.execute("SELECT internal.create_metric_view('regular')")
    await pack(samples.connection, ALL)
    views = {
        "internal.prometheus_remote_write": "internal.prometheus_remote_write_between($1, $2)",
        "metric.regular": "metric.regular($1, $2)",
        "internal.series_sample": "internal.series_samples_between($1, $2)",
        "(SELECT * FROM internal.prometheus_remote_write WHERE name = 'gap')":
            "internal.prometheus_remote_write_between($1, $2, 'Gap')",
    }  # fmt: skip
    period = (START + 100 * 1000 * MS, START + 7 * HOUR)
    for view, function in views.items():
        expected = await samples.connection.fetch(
            f"SELECT v::text FROM {view} AS v WHERE time >= $1 AND time < $2 ORDER BY v::text",
            *period,
        )
        rows = await samples.connection.fetch(
            f"SELECT v::text FROM {function} AS v ORDER BY v::text", *period
        )
        assert rows, view
        assert rows == expected, view
    recent = await samples.series("recent")
    await samples.copy(every(60, datetime.now(UTC) - HOUR, 10, recent))
    assert await samples.connection.fetchval(
        "SELECT count(*) FROM internal.prometheus_remote_write_last_day WHERE tag_id = $1", recent
    ) == 10  # fmt: skip
    await samples.connection.execute("SELECT internal.drop_metric_view('regular')")


async def test_every_step_leaves_everything_readable(samples: Samples) -> None:
    """Pieces of one series: blocks that nobody reads yet stand beside rows."""
    await a_bit_of_everything(samples)
    before = await all_samples(samples.connection)
    for round_ in range(200):
        done = 0
        for name in ("pack", "drop", "close", "settle", "join"):
            argument = START + DAY if name == "close" else 20
            done += await take_step(samples.connection, name, argument)
            if round_ % 10 == 0:
                assert await all_samples(samples.connection) == before, name
        if not done:
            break
    assert await blocks(samples)
    assert await all_samples(samples.connection) == before


async def test_what_is_packed_is_not_stored_again(samples: Samples) -> None:
    await a_bit_of_everything(samples)
    before = await all_samples(samples.connection)
    again: list[Row] = [(time, series, 7.0, None) for series, time in before]
    new: list[Row] = [(time + 11 * MS, series, 7.0, None) for series, time in before]
    await take_step(samples.connection, "close", ALL)
    assert await samples.copy(again[::3]) == 0, "closed, and rows still"
    await pack(samples.connection, ALL)
    assert await samples.copy(again) == 0
    assert await samples.copy([*new, *again]) == len(new)
    assert await samples.copy(new) == 0
    after = await all_samples(samples.connection)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + len(new)
    await pack(samples.connection, ALL, most=700)
    assert await all_samples(samples.connection) == after
    assert await samples.connection.fetchval(
        "SELECT count(*) FROM internal.late WHERE date_trunc('milliseconds', time) = time"
    ) == 0  # fmt: skip
    assert await samples.copy([*new, *again]) == 0


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_an_older_snapshot_reads_the_rows(samples: Samples, isolation: str) -> None:
    await a_bit_of_everything(samples)
    before = await all_samples(samples.connection)
    partitions = "SELECT count(*) FROM internal.partitions_of('internal') WHERE \"table\" = 'hot'"
    made = await samples.connection.fetchval(partitions)
    await close(samples.connection, ALL)
    async with connect(samples.database) as old, connect(samples.database) as heir:
        async with old.transaction(isolation=isolation, readonly=True):
            await old.fetchval("SELECT count(*) FROM internal.series")
            shown = await old.fetchval("SELECT pg_export_snapshot()")
            await pack(samples.connection, ALL)
            assert await blocks(samples)
            assert await samples.connection.fetchval(partitions) == made, "none is dropped"
            await heir.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await heir.execute(f"SET TRANSACTION SNAPSHOT '{shown}'")
            assert await all_samples(old) == before
        # The snapshot was handed on.
        await take_step(samples.connection, "drop", 1)
        await pack(samples.connection, ALL)
        assert await all_samples(heir) == before
        await heir.execute("COMMIT")
    await pack(samples.connection, ALL)
    assert await samples.connection.fetchval(partitions) == 0
    assert await all_samples(samples.connection) == before


async def test_closed_is_closed_for_every_transaction(samples: Samples) -> None:
    """Also for one whose snapshot is older, and one that is under way."""
    series = await samples.series("m")
    await samples.copy(every(60, START, 5, series))
    insert = "INSERT INTO internal.hot VALUES ($1, $2, 1)"
    late = START + 5 * 1000 * MS
    async with connect(samples.database) as writer, connect(samples.database) as old:
        await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await old.fetchval("SELECT count(*) FROM internal.sample")
        async with writer.transaction():
            await writer.execute(insert, late, series)
            assert await take_step(samples.connection, "close", ALL) == 0, "it waits for the writer"
        assert await take_step(samples.connection, "close", ALL) == 1
        with pytest.raises(asyncpg.SerializationError, match="is closed"):
            await writer.execute(insert, late + MS, series)
        for statement in ("UPDATE internal.hot SET value = 9", "DELETE FROM internal.hot"):
            with pytest.raises(asyncpg.SerializationError, match="is closed"):
                await writer.execute(statement)
        with pytest.raises(asyncpg.SerializationError):
            await old.execute(
                "INSERT INTO staging_internal.sample VALUES ($1, $2, 1)", late + MS, series
            )
        await old.execute("ROLLBACK")
        await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="READ COMMITTED"):
            await old.execute(
                "INSERT INTO staging_internal.sample VALUES ($1, $2, 1)", late + MS, series
            )
        await old.execute("ROLLBACK")
    await pack(samples.connection, ALL)
    assert len(await all_samples(samples.connection)) == 6


async def test_late_samples_are_stored_once_whatever_is_expected_of_them(samples: Samples) -> None:
    series = await samples.series("m")
    packed = every(60, START, 100, series)
    await samples.copy(packed)
    await pack(samples.connection, ALL)
    await samples.connection.execute(
        "SELECT internal.ensure_partitions('internal', $1, $2)", START, START + HOUR
    )

    async def new_rows(expected: str, *times: datetime) -> int:
        async with samples.connection.transaction():
            await samples.connection.execute(f"SET LOCAL promgres.duplicates = '{expected}'")
            await samples.connection.execute(
                "INSERT INTO staging_internal.sample"
                " SELECT t, $2, 7 FROM unnest($1::timestamptz[]) AS t",
                times,
                series,
            )
            count: int = await samples.connection.fetchval(
                "SELECT current_setting('promgres.new_rows')::int"
            )
        return count

    for number, expected in enumerate(("", "likely")):
        late = [START + (60 * n + 10 * (number + 1)) * 1000 * MS for n in range(10)]
        assert await new_rows(expected, *late[:6]) == 6
        assert await new_rows(expected, *late) == 4, "six of them are late rows already"
        assert await new_rows(expected, late[0] + MS, late[0] + MS) == 1, "one of them twice"
        assert await new_rows(expected, START, late[0] + 2 * MS) == 1, "one of them is in a block"
    assert len(await all_samples(samples.connection)) == len(packed) + 2 * 12


@pytest.mark.parametrize("expected", ["", "likely"])
async def test_late_samples_wait_only_for_what_is_packed_of_their_own(
    samples: Samples, expected: str
) -> None:
    """Late rows are put into blocks by a transaction that is not over: who sends others is not held
    up, who sends one of them again waits, and then finds it in the block that there was none of."""
    series = await samples.series("m")
    packed, late = every(60, START + HOUR, 20, series), every(60, START, 20, series)
    await samples.copy(packed)
    await pack(samples.connection, ALL)
    await samples.copy(late)
    await close(samples.connection, ALL)
    insert = (
        "INSERT INTO staging_internal.sample SELECT * FROM unnest($1::timestamptz[], $2::bigint[])"
    )
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1"

    async def send(sender: asyncpg.Connection, *times: datetime) -> int:
        async with sender.transaction():
            await sender.execute(f"SET LOCAL promgres.duplicates = '{expected}'")
            await sender.execute(insert + ", (VALUES (7)) AS v", times, [series] * len(times))
            count: int = await sender.fetchval("SELECT current_setting('promgres.new_rows')::int")
        return count

    async with connect(samples.database) as packer, connect(samples.database) as sender:
        async with packer.transaction():
            await packer.fetchval("SELECT internal.pack_late(4000, 1, '0')")
            assert await packer.fetchval("SELECT count(*) FROM internal.late") == 0
            assert await send(sender, START + MS, START + 2 * MS) == 2
            again = asyncio.create_task(send(sender, START, START + 3 * MS))
            async with asyncio.timeout(60):
                while not await samples.connection.fetchval(waits, sender.get_server_pid()):
                    assert not again.done()
                    await asyncio.sleep(0)
        assert await again == 1
    stored = await all_samples(samples.connection)
    assert len(stored) == len(packed) + len(late) + 3
    await pack(samples.connection, ALL)
    assert await all_samples(samples.connection) == stored


async def straight_late(samples: Samples, *keys: tuple[int, datetime]) -> bool:
    """Past staging, as a write side does with what is packed by all it knows."""
    moments = [to_ms(time) for _, time in keys]
    payload = encode_samples(rows_of(*[(series, to_ms(time), 7.0) for series, time in keys]))
    stored = await Store(samples.pool).append_samples(
        "internal", "late", [payload], Touched([]), None,
        sought=Sought(sorted({series for series, _ in keys}), min(moments), max(moments)),
    )  # fmt: skip
    return stored is not None


async def test_late_samples_go_past_staging_where_no_block_can_have_them(samples: Samples) -> None:
    """Only where no block and no hot row can have them."""
    regular, jitter, few, other = [
        await samples.series(name) for name in ("regular", "jitter", "few", "other")
    ]
    await samples.copy(
        [
            *every(60, START + HOUR, 60, regular),
            *[(t + (n % 3) * MS, s, v, e)
              for n, (t, s, v, e) in enumerate(every(60, START + HOUR, 60, jitter))],
            *every(600, START + 2 * HOUR, 120, few),  # so many that a day is theirs
        ]
    )  # fmt: skip
    await close(samples.connection, ALL)
    before = await all_samples(samples.connection)
    samples.engine.forget("internal")
    await samples.engine.prepare(samples.pool, "internal", to_ms(START), to_ms(START + DAY) - 1)
    assert not await straight_late(samples, (regular, START)), "hot rows are still read"
    await pack(samples.connection, ALL)
    assert await samples.connection.fetchval("SELECT count(*) FROM internal.long_block") == 1
    within = START + HOUR + 30_000 * MS
    for series in (regular, jitter):
        assert not await straight_late(samples, (series, START + HOUR)), "a block has it"
        assert not await straight_late(samples, (series, within)), "a block may have it"
        assert not await straight_late(samples, (other, within), (series, within))
    assert not await straight_late(samples, (few, START + 20 * HOUR)), "so may a long one"
    assert await all_samples(samples.connection) == before
    new = [
        [(regular, START), (jitter, START), (few, START)],
        [(regular, START + 2 * HOUR), (jitter, START + 2 * HOUR)],
        [(other, within), (few, within)],
        [(regular, START + 7 * HOUR), (other, START + 7 * HOUR)],
    ]
    for keys in new:
        assert await straight_late(samples, *keys)
        assert not await straight_late(samples, *keys), "now they are late rows"
    after = await all_samples(samples.connection)
    assert after.keys() == set(before).union(*new)
    async with samples.connection.transaction(isolation="repeatable_read"):
        with pytest.raises(asyncpg.SerializationError, match="blocks of internal may have"):
            await samples.connection.execute(
                "SELECT internal.refuse_packed($1, $2, $2)", [other], START
            )
    await pack(samples.connection, ALL)
    assert await all_samples(samples.connection) == after


async def test_late_samples_past_staging_wait_for_what_is_packed_of_their_own(
    samples: Samples,
) -> None:
    series = await samples.series("m")
    await samples.copy(every(60, START + HOUR, 20, series))
    await pack(samples.connection, ALL)
    late = every(60, START, 20, series)
    await samples.copy(late)
    await close(samples.connection, ALL)
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    async with connect(samples.database) as packer:
        async with packer.transaction():
            await packer.fetchval("SELECT internal.pack_late(4000, 1, '0')")
            assert await straight_late(samples, (series, START + 2 * HOUR)), "others do not"
            again = asyncio.create_task(straight_late(samples, (series, START)))
            async with asyncio.timeout(60):
                while not await samples.connection.fetchval(waits):
                    assert not again.done()
                    await asyncio.sleep(0)
        assert not await again, "the block has it"
    assert len(await all_samples(samples.connection)) == 41


async def test_times_are_found_among_irregular_steps(samples: Samples) -> None:
    steps = [0, 15_000, 1, 30_000, 14_999, 86_400_000]
    times = set(itertools.accumulate(steps))
    near = {at + off for at in times for off in (-1, 0, 1)} | {-1, 10**10}
    asked = sorted([*near, *list(times)[:2]])  # two of them twice
    found = await samples.connection.fetch("SELECT internal.reached($1, $2)", steps, asked)
    assert [asked[row[0] - 1] for row in found] == [ms for ms in asked if ms in times]
    for ms in asked:
        alone = await samples.connection.fetch("SELECT internal.reached($1, $2)", steps, [ms])
        assert len(alone) == (ms in times), ms


@pytest.mark.parametrize("target", ["internal", "cumsum", "geo"])
async def test_the_view_takes_nothing_and_says_where_to_go(samples: Samples, target: str) -> None:
    series = await samples.series("m", target=target)
    await samples.copy(every(60, START, 5, series), target)
    await pack(samples.connection, ALL, target)
    assert await blocks(samples, target) == 1
    for statement in (
        f"INSERT INTO {target}.sample VALUES (now(), {series}, 1, NULL)",
        f"INSERT INTO {target}.sample (time, series_id, value) SELECT now(), {series}, 1",
    ):
        with pytest.raises(asyncpg.FeatureNotSupportedError, match=f"into staging_{target}.sample"):
            await samples.connection.execute(statement)
    with pytest.raises(asyncpg.FeatureNotSupportedError, match=f"into staging_{target}.sample"):
        await samples.connection.copy_records_to_table(
            "sample", schema_name=target, records=[(START, series, 1.0, None)]
        )
    for statement in (f"UPDATE {target}.sample SET value = 2", f"DELETE FROM {target}.sample"):
        with pytest.raises(asyncpg.FeatureNotSupportedError, match=f"stand in {target}.hot"):
            await samples.connection.execute(statement)


async def test_series_with_few_samples_get_longer_blocks(samples: Samples) -> None:
    """A week, or what a month has of it; a day, if a week is too much."""
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    for target in ("internal", "cumsum"):
        few = await samples.series("few", target=target)
        await samples.copy(every(900, monday, 14 * 96, few), target)
        many = await samples.series("many", target=target)
        await samples.copy(every(40, monday, 2000, many), target)
        some = await samples.series("some", target=target)
        await samples.copy(every(180, monday, 2 * 480, some), target)
        before = await all_samples(samples.connection, f"{target}.sample")
        await pack(samples.connection, ALL, target)
        assert await all_samples(samples.connection, f"{target}.sample") == before
        count = f"SELECT count(*) FROM {target}.block WHERE series_id = $1"
        count_long = f"SELECT array_agg(count) FROM {target}.long_block WHERE series_id = $1"
        assert await samples.connection.fetchval(count, few) == 0
        assert await samples.connection.fetchval(count_long, few) == [672, 672]
        assert await samples.connection.fetchval(count, some) == 0
        assert await samples.connection.fetchval(count_long, some) == [480, 480]
        assert await samples.connection.fetchval(count, many) == 4
        noon = monday + 3 * DAY + 12 * HOUR
        call = f"{target}.samples_between('{noon}', '{noon + HOUR}')"
        read = await all_samples(samples.connection, call)
        assert sorted(time for _, time in read) == [noon + n * 900_000 * MS for n in range(4)]
        assert await samples.copy([(noon, few, 1.0, None)], target) == 0
        assert await samples.copy([(noon + MS, few, 1.0, None)], target) == 1
        await pack(samples.connection, ALL, target)
        assert len(await all_samples(samples.connection, f"{target}.sample")) == len(before) + 1
        assert sorted(await samples.connection.fetchval(count_long, few)) == [672, 673]


async def test_rollups_of_packed_minutes_are_made_again(samples: Samples) -> None:
    series = await samples.series("m")
    await samples.copy(every(15, START, 960, series))
    await samples.settle()
    stored = await samples.rollup("1m", "m")
    await pack(samples.connection, ALL)
    assert await samples.copy([(START + 7 * 1000 * MS, series, -5.0, None)]) == 1
    for _ in range(2):  # computed by the reader, then stored
        first, *others = await samples.rollup("1m", "m")
        assert (first["samples"], first["min"]) == (5, -5.0)
        assert others == stored[1:]
        await samples.settle()
    await samples.connection.execute("TRUNCATE internal.stored_1m, internal.stored_1h")
    await samples.engine.refresh(samples.connection, START, START + DAY, lambda done, all_: None)
    first, *others = await samples.rollup("1m", "m")
    assert (first["samples"], len(others)) == (5, 239)
    assert others == stored[1:]


async def test_blocks_go_with_their_retention(postgres_db: Database) -> None:
    retention = RetentionSettings(internal_days=30)
    storage = StorageSettings(pack=True)
    async with samples_of(postgres_db) as samples:
        series = await samples.series("m")
        old, new = TODAY - 70 * DAY, TODAY - 20 * DAY
        await samples.copy([*every(60, old, 10, series), *every(60, new, 10, series)])
        await switch_on(samples.connection)
        await pack(samples.connection, ALL)
        await samples.copy([(old + MS, series, 1.0, None), (new + MS, series, 1.0, None)])
        await migrate(postgres_db.url, postgres_db.settings(retention=retention, storage=storage))
        await samples.settle()
        while await samples.connection.fetchval(
            "SELECT internal.drop_expired_partitions('internal')"
        ):
            pass
        assert {time for _, time in await all_samples(samples.connection)} == {
            new + MS, *(row[0] for row in every(60, new, 10, series))
        }  # fmt: skip
        with pytest.raises(asyncpg.DatetimeFieldOverflowError, match="are gone"):
            await samples.copy([(old, series, 1.0, None)])


async def test_no_partition_of_the_past_is_closed_at_once(samples: Samples) -> None:
    """Not even the first: somebody may be filling it."""
    await samples.copy(every(60, START - 9 * DAY, 10, await samples.series("m")))
    for waits, closed in (("10 minutes", 0), ("10 minutes", 0), ("0", 1)):
        close_hot = f"SELECT internal.close_hot('internal', p_quiet => '{waits}')"
        assert await samples.connection.fetchval(close_hot) == closed, waits


async def test_the_worker_packs_what_is_over(postgres_db: Database) -> None:
    """By the setting, and no sooner than its time is over; writers go through staging then."""
    async with samples_of(postgres_db) as samples:
        await switch_off(samples.connection)
        series = await samples.series("m")
        now = datetime.now(UTC).replace(microsecond=0)
        today = now.replace(hour=0, minute=0, second=0)  # TODAY may be yesterday by now
        await samples.copy([(today - 2 * HOUR, series, 1.0, None), (now, series, 1.0, None)])
        await samples.settle()
        assert await blocks(samples) == 0, "it is off"
        days = await samples.connection.fetchval(
            "SELECT count(*) FROM internal.partitions_of('internal') WHERE length(name) > 14"
        )
        assert days == 0, "and partitions are days"
    await migrate(postgres_db.url, postgres_db.settings(storage=StorageSettings(pack=True)))
    async with samples_of(postgres_db) as samples:
        tomorrow = today + DAY + 2 * HOUR  # its partition is of six hours
        await samples.engine.prepare(
            samples.pool, "internal", int(tomorrow.timestamp() * 1000),
            int(tomorrow.timestamp() * 1000),
        )  # fmt: skip
        names = await samples.connection.fetch(
            "SELECT name FROM internal.partitions_of('internal') WHERE length(name) > 14"
        )
        assert len(names) == 4
        # Yesterday's day is over if an hour of today is; nobody fills it.
        closed = await samples.connection.fetchval(
            "SELECT internal.close_hot('internal', $1, '0')", today + HOUR
        )
        assert closed == 1
        await samples.settle()
        assert await blocks(samples) == 1
        midnight_ms, now_ms = (int(each.timestamp() * 1000) for each in (today, now))
        straight_into = samples.engine.straight_into
        assert straight_into("internal", midnight_ms - 1, midnight_ms - 1) == ("late", True)
        assert straight_into("internal", midnight_ms - 1, now_ms) is None
        assert straight_into("internal", midnight_ms, now_ms) == ("hot", False)


async def test_who_holds_a_partition_up_is_found(samples: Samples) -> None:
    series = await samples.series("m")
    await samples.copy(every(60, START, 5, series))
    await close(samples.connection, ALL)
    async with connect(samples.database) as idle:
        await idle.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await idle.fetchval("SELECT 1")
        pid = idle.get_server_pid()
        await pack(samples.connection, ALL)
        waits = await samples.connection.fetch(
            "SELECT t.pid FROM internal.retired AS r"
            " JOIN internal.transactions_under_way() AS t ON t.id = ANY (r.waits_for)"
        )
        assert {row["pid"] for row in waits} == {pid}
        await idle.execute("ROLLBACK")
    await pack(samples.connection, ALL)
    assert await samples.connection.fetchval("SELECT count(*) FROM internal.retired") == 0


async def test_a_trigger_that_is_gone_stops_packing(samples: Samples) -> None:
    """A partition that takes rows again behind our back must not be packed and dropped."""
    series = await samples.series("m")
    await samples.copy(every(60, START, 5, series))
    await take_step(samples.connection, "close", ALL)
    [row] = await samples.connection.fetch(
        "SELECT name FROM internal.partitions_of('internal') WHERE \"table\" = 'hot'"
    )
    await execute(samples.database.url, f"DROP TRIGGER closed ON internal.{row['name']}")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="takes rows"):
        await take_step(samples.connection, "pack", 100)


async def test_a_statement_of_an_older_transaction_knows_the_blocks(samples: Samples) -> None:
    """It began to read before their partition came: nothing is moved there before it is over."""
    series = await samples.series("m")
    await samples.copy(every(60, START, 5, series))
    async with connect(samples.database) as reader:
        async with reader.transaction():
            before = await all_samples(reader)
            await pack(samples.connection, ALL)
            assert await all_samples(reader) == before
            assert await blocks(samples) == 0
        await pack(samples.connection, ALL)
        assert await blocks(samples) == 1
        assert await all_samples(reader) == before
        # Those of the next day are there already.
        await samples.copy(every(60, START + DAY, 5, series))
        async with reader.transaction():
            before = await all_samples(reader)
            await samples.copy([(START + 100 * MS, series, 1.0, None)])
            await pack(samples.connection, ALL)
            assert before.keys() <= (await all_samples(reader)).keys()


async def test_promql_gets_arrays_of_the_same(samples: Samples, monkeypatch: Any) -> None:
    """Blocks of regular steps as they are, all else as rows, whatever batches they come in."""
    await a_bit_of_everything(samples)
    api = Api(samples.database, samples.connection)
    name = Matcher("!=", "__name__", "")
    start_ms, day_ms = int(START.timestamp() * 1000), 86_400_000
    asked = [
        Selection((name,), start_ms + begin, start_ms + end, newest=newest)
        for begin, end in ((0, day_ms), (3_600_000, 7_260_001), (61_000, 61_000), (0, 0))
        for newest in (False, True)
    ]
    before = [told(await selected(api, selection)) for selection in asked]
    assert len(before[0]) == 7
    await pack(samples.connection, ALL)
    for batch in (500_000, 60):
        monkeypatch.setattr(selecting, "BATCH_SAMPLES", batch)
        assert [told(await selected(api, selection)) for selection in asked] == before
    for selection in asked[::2]:
        counted = sum(len(found) for _, found in told(await selected(api, selection)))
        period = [to_datetime(selection.from_ms), to_datetime(selection.to_ms)]
        for most in (counted + 1, counted, max(counted - 1, 0)):
            count = await samples.connection.fetchval(
                "SELECT internal.count_samples($1, $2, $3, $4)", list(range(1, 8)), *period, most
            )
            assert count == min(counted, most)
    with pytest.raises(PromqlLimit):
        await selected(api, asked[0], budget(2_000))
    packed = "SELECT * FROM internal.packed_samples($1, $2, $3, 100000)"
    rows = await samples.connection.fetch(packed, list(range(1, 8)), START, ALL)
    assert sum(len(row["values"]) for row in rows if row["step_ms"]) > 12 * 1500


@pytest.mark.parametrize(
    "check",
    [
        test_what_is_packed_reads_as_it_did,
        test_what_is_packed_is_not_stored_again,
        test_late_samples_go_past_staging_where_no_block_can_have_them,
    ],
    ids=lambda check: check.__name__,
)
async def test_debians_postgresql_does_the_same(
    german_samples: Samples, check: Callable[[Samples], Awaitable[None]]
) -> None:
    await switch_on(german_samples.connection)
    await check(german_samples)
