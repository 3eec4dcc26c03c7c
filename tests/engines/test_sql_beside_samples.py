"""Exemplars, native histograms and metadata, from a COPY into staging to rows."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from ingest.config import RetentionSettings
from ingest.migrate import migrate
from ingest.model import STALE_MARKER_BITS
from ingest.storage import engine as engine_module
from ingest.storage.engine import to_ms
from ingest.storage.engines import load_engine
from tests.engines.native import CUSTOM, Native, copy, store
from tests.engines.sql_api import Api, Sample
from tests.support.databases import Database, connect
from tests.support.sql_samples import drop_expired, samples_of

NOW = datetime.now(UTC).replace(microsecond=0)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
STALE = struct.unpack("!d", STALE_MARKER_BITS.to_bytes(8, "big"))[0]
OTHER_NAN = struct.unpack("!d", bytes.fromhex("7ff8000000000001"))[0]


def exemplar(time: datetime, series: int, value: float, **labels: str) -> tuple[object, ...]:
    """A row of `staging_internal.exemplar`."""
    return time, series, value, json.dumps(labels)


async def rows_of(api: Api, store: str) -> list[tuple[object, ...]]:
    """Everything in a table, bits of floats too."""
    rows = await api.connection.fetch(
        f"SELECT t::text FROM internal.{store} AS t ORDER BY series_id, time, t::text"
    )
    return [tuple(row) for row in rows]


async def test_an_exemplar_is_one_whatever_comes_again(api: Api) -> None:
    rows = [
        exemplar(NOW, 1, 0.5, trace_id="a"),
        exemplar(NOW, 1, 0.5, trace_id="b"),
        exemplar(NOW, 1, 0.7, trace_id="a"),
        exemplar(NOW, 2, 0.5, trace_id="a"),
        exemplar(NOW + SECOND, 1, 0.5, trace_id="a", span_id="é"),
        exemplar(NOW + SECOND, 1, 0.5),
    ]
    assert await copy(api, "exemplar", [*rows, *rows[:2]]) == 6
    before = await rows_of(api, "exemplar")
    assert await copy(api, "exemplar", rows[::-1]) == 0
    reordered = '{"span_id": "é", "trace_id": "a"}'
    assert await copy(api, "exemplar", [(NOW + SECOND, 1, 0.5, reordered)]) == 0
    assert await rows_of(api, "exemplar") == before
    assert len(before) == 6


async def test_exemplars_of_any_float(api: Api) -> None:
    values = [math.nan, STALE, math.inf, -math.inf, 0.0, -0.0, 5e-324]
    rows = [exemplar(NOW, 1, value) for value in values]
    assert await copy(api, "exemplar", rows) == 5  # NaN is NaN, and 0 is -0, as keys go
    assert await copy(api, "exemplar", rows) == 0
    bits = await api.connection.fetch(
        "SELECT encode(float8send(value), 'hex') AS bits FROM internal.exemplar WHERE value = 'NaN'"
    )
    assert [row["bits"] for row in bits] == ["7ff8000000000000"]


async def test_histograms_keep_every_bit(api: Api) -> None:
    plain = Native(NOW, {-3: 1, 7: 2}, {2: 4}, 5, start=NOW - DAY, sum=OTHER_NAN)
    stale = Native(NOW + SECOND, sum=STALE, is_stale=True)
    custom = Native(NOW + 2 * SECOND, {0: 1.5}, schema=CUSTOM, bounds=[-1.0, 2.5], is_float=True)
    large = Native(NOW + 3 * SECOND, {1: 2.0**63}, exact_counts=[Decimal(2**63 + 1)] * 3)
    (series,) = await store(api, [plain, stale, custom, large])
    rows = await api.connection.fetch(
        "SELECT *, encode(float8send(sum), 'hex') AS bits FROM internal.histogram ORDER BY time"
    )
    assert [tuple(row)[:6] for row in rows] == [
        one.row(series)[:6] for one in (plain, stale, custom, large)
    ]
    assert [tuple(row)[7:-1] for row in rows] == [
        one.row(series)[7:] for one in (plain, stale, custom, large)
    ]
    assert [row["bits"] for row in rows[:2]] == ["7ff8000000000001", "7ff0000000000002"]


async def test_the_first_of_two_histograms_wins(api: Api) -> None:
    (series,) = await store(api, [Native(NOW, {1: 1}, sum=STALE), Native(NOW, {1: 2})])
    before = await rows_of(api, "histogram")
    again = [Native(NOW, {1: 3}).row(series), Native(NOW + SECOND, {1: 4}).row(series)]
    assert await copy(api, "histogram", again) == 1
    assert await copy(api, "histogram", again) == 0
    after = await rows_of(api, "histogram")
    assert after[:1] == before
    assert len(after) == 2


async def test_each_statement_of_a_transaction_counts_for_itself(api: Api) -> None:
    await copy(api, "exemplar", [exemplar(NOW, 1, 1.0)])
    counts = []
    async with api.connection.transaction():
        await api.connection.execute("SET LOCAL promgres.duplicates = 'likely'")
        for values in ([1.0, 2.0, 3.0], [3.0, 4.0], [2.0]):
            await api.connection.copy_records_to_table(
                "exemplar",
                schema_name="staging_internal",
                records=[exemplar(NOW, 1, value) for value in values],
            )
            counts.append(await api.connection.fetchval("SHOW promgres.new_rows"))
    assert counts == ["2", "1", "0"]


async def test_exemplars_are_read_newest_first(api: Api) -> None:
    samples = [
        Sample(NOW, "H_bucket", labels={"le": "1"}),
        Sample(NOW, "h_bucket", labels={"le": "1"}, schema="mainnet"),
    ]
    ids = await api.resolve({sample.identity: sample for sample in samples})
    ours, other = (ids[sample.identity] for sample in samples)
    rows = [exemplar(NOW + n * SECOND, ours, n / 2, trace_id=str(n)) for n in range(4)]
    await copy(api, "exemplar", [*rows, exemplar(NOW, other, 9.0), exemplar(NOW, 10**9, 9.0)])
    call = "get_exemplars('H_Bucket', 'common', $1, $2)"
    found = await api.rows(call, NOW + SECOND, NOW + 3 * SECOND)
    labels = {"__name__": "H_bucket", "le": "1"}
    assert [(*row[:2], json.loads(row[2]), json.loads(row[3])) for row in found] == [
        (NOW + 2 * SECOND, 1.0, {"trace_id": "2"}, labels),
        (NOW + SECOND, 0.5, {"trace_id": "1"}, labels),
    ]


def said(seconds: int, name: str, help_text: str, tenant_id: int = 1) -> tuple[object, ...]:
    """A row of `staging_internal.metadata`."""
    return NOW + seconds * SECOND, tenant_id, name, "counter", "seconds", help_text


async def test_the_newest_metadata_holds(api: Api) -> None:
    assert await copy(api, "metadata", [said(0, "b", "Old."), said(0, "a", "A."), said(5, "B", "")])
    assert await copy(api, "metadata", [said(9, "b", "New."), said(9, "b", "New.")]) == 1
    held = [
        ("B", "counter", "seconds", ""),
        ("a", "counter", "seconds", "A."),
        ("b", "counter", "seconds", "New."),
    ]
    assert await api.rows("get_metric_metadata()") == held
    # A replay, at any time: what was said first keeps its moment.
    assert await copy(api, "metadata", [said(99, "b", "Old."), said(0, "a", "A.")]) == 0
    assert await api.rows("get_metric_metadata()") == held
    moments = await api.connection.fetch("SELECT first_seen FROM internal.metadata ORDER BY 1")
    assert [row[0] - NOW for row in moments] == [n * SECOND for n in (0, 0, 5, 9)]


async def test_metadata_of_any_length_and_of_each_tenant(api: Api) -> None:
    other = await api.connection.fetchval(
        "INSERT INTO app.tenant (name) VALUES ('other') RETURNING tenant_id"
    )
    long = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(20_000))
    rows = [said(0, "a", long), said(0, "a", long, other), said(1, long[:5000], "é \" \\ '")]
    assert await copy(api, "metadata", rows) == 3
    assert await copy(api, "metadata", rows) == 0
    assert [row[3] for row in await api.rows("get_metric_metadata()")] == [long, "é \" \\ '"]
    await api.connection.execute(f"SET promgres.tenant_id = '{other}'")
    assert len(await api.rows("get_metric_metadata()")) == 1
    await api.connection.execute("SET promgres.tenant_id = ''")


async def test_two_writers_of_the_same_metadata_do_not_block_each_other_for_good(
    postgres_db: Database,
) -> None:
    rows = [said(0, f"m{n}", "Help.") for n in range(2000)]

    async def write(ordered: list[tuple[object, ...]]) -> int:
        async with connect(postgres_db) as connection:
            return await copy(Api(postgres_db, connection), "metadata", ordered)

    assert sum(await asyncio.gather(write(rows), write(rows[::-1]), write(rows[1000:]))) == 2000


async def test_a_row_without_a_partition_is_refused(postgres_api: Api) -> None:
    for store_name, row in (
        ("exemplar", exemplar(NOW, 1, 1.0)),
        ("histogram", Native(NOW).row(1)),
    ):
        with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
            await postgres_api.connection.copy_records_to_table(
                store_name, schema_name="staging_internal", records=[row]
            )


async def keep(database: Database, days: int | None) -> None:
    """Migrate with another retention of `internal`."""
    retention = RetentionSettings(internal_days=days, compress_after_days=None)
    await migrate(database.url, database.settings(retention=retention))


async def test_retention_drops_whole_days(engine_db: Database) -> None:
    old, kept = NOW - 50 * DAY, NOW - 20 * DAY
    async with samples_of(engine_db) as samples:
        api = Api(engine_db, samples.connection)
        for time in (old, kept):
            (series,) = await store(api, [Native(time, {1: 1})])
            await copy(api, "exemplar", [exemplar(time, series, 1.0)])
        await keep(engine_db, 30)
        if engine_db.engine == "timescaledb":
            await drop_expired(samples.connection)
        await samples.engine.work(samples.pool)
        for table in ("exemplar", "histogram"):
            times = await samples.connection.fetch(f"SELECT time FROM internal.{table}")
            assert [row[0] for row in times] == [kept], table


async def test_nothing_is_taken_where_samples_are_gone(postgres_db: Database) -> None:
    old = NOW - 50 * DAY
    async with samples_of(postgres_db) as samples:
        series = await samples.series("m")
        await samples.copy([(old, series, 1.0, None)])
        await samples.settle()
        await keep(postgres_db, 30)
        await samples.connection.fetchval("SELECT internal.drop_expired_partitions('internal')")
        for name in ("internal", "exemplar", "histogram"):
            samples.engine.forget(name)
            with pytest.raises(asyncpg.DatetimeFieldOverflowError, match="are gone"):
                await samples.engine.prepare(samples.pool, name, to_ms(old), to_ms(old))


async def test_partitions_of_histograms_do_not_wait_for_rollups(postgres_db: Database) -> None:
    old = NOW - 50 * DAY
    async with samples_of(postgres_db) as samples:
        series = await samples.series("m")
        await samples.copy([(old, series, 1.0, None)])  # marked, and not stored yet
        await copy(Api(postgres_db, samples.connection), "histogram", [Native(old).row(series)])
        await keep(postgres_db, 30)
        dropped = [
            await samples.connection.fetchval("SELECT internal.drop_expired_partitions($1)", name)
            for name in ("internal", "histogram")
        ]
        assert dropped == [0, 1]
        # It left no trace that would keep the rollups of the samples from being computed.
        assert (await samples.connection.fetchrow("SELECT * FROM internal.horizon('internal')"))[
            "dropped_before"
        ] is None


async def test_where_all_is_kept_partitions_are_months(postgres_db: Database) -> None:
    await keep(postgres_db, None)
    async with connect(postgres_db) as connection:
        make = "SELECT internal.ensure_partitions($1, '2026-03-10', '2026-04-10')"
        assert await connection.fetchval(make, "histogram") == 2
        assert await connection.fetchval(make, "exemplar") == 2
        names = await connection.fetch("SELECT name FROM internal.partitions_of('exemplar')")
    assert sorted(row[0] for row in names) == ["exemplar_p202603", "exemplar_p202604"]


async def test_late_rows_reach_compressed_chunks(timescale_db: Database) -> None:
    async with connect(timescale_db) as connection:
        api = Api(timescale_db, connection)
        times = [NOW - 10 * DAY + n * SECOND for n in range(5)]
        (series,) = await store(api, [Native(time, {1: n}) for n, time in enumerate(times)])
        values = [math.nan, math.inf, 0.0, -1.5, 2.0]
        rows = [
            exemplar(time, series, value, id="x")
            for time, value in zip(times, values, strict=True)
        ]  # fmt: skip
        await copy(api, "exemplar", rows)
        before = await rows_of(api, "exemplar") + await rows_of(api, "histogram")
        for table in ("exemplar", "histogram"):
            await connection.execute(
                f"SELECT compress_chunk(c) FROM show_chunks('internal.{table}') AS c"
            )
        assert await rows_of(api, "exemplar") + await rows_of(api, "histogram") == before
        assert await copy(api, "exemplar", [*rows, exemplar(times[0], series, 7.0)]) == 1
        late = [Native(time, {1: 99}) for time in times]
        late.append(Native(NOW - 10 * DAY + 9 * SECOND, {1: 99}))
        assert await copy(api, "histogram", [one.row(series) for one in late]) == 1


async def test_a_changed_retention_is_noticed(
    engine_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "HORIZON_SECONDS", 0.0)
    async with samples_of(engine_db) as samples:
        engine = await load_engine(samples.connection, engine_db.settings())
        today_ms = to_ms(NOW.replace(hour=0, minute=0, second=0))
        for days in (30, 10):
            await keep(engine_db, days)
            await engine.work(samples.pool)
            for name in ("internal", "exemplar", "histogram"):
                since_ms = engine.horizons.start_ms(name, to_ms(NOW))
                assert since_ms == today_ms - (days - 1) * 86_400_000
