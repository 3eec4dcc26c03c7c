"""From a COPY into staging to rows of the sample tables."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from ingest.model import STALE_MARKER_BITS
from ingest.stores import TARGETS
from tests.support.databases import Database, connect
from tests.support.sql_samples import COLUMNS, Samples, samples_of

NOW = datetime.now(UTC).replace(microsecond=0)
STALE = struct.unpack("!d", STALE_MARKER_BITS.to_bytes(8, "big"))[0]
COUNT_OF_PARTITIONS = "SELECT count(*) FROM internal.partitions_of($1)"


@pytest.fixture
async def samples(engine_db: Database) -> AsyncIterator[Samples]:
    async with samples_of(engine_db) as opened:
        yield opened


async def stored(samples: Samples, target: str = "internal") -> list[tuple[object, ...]]:
    rows = await samples.connection.fetch(
        f"SELECT series_id, time, value, exact FROM {target}.sample ORDER BY series_id, time"
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("target", TARGETS)
async def test_a_copy_arrives_and_is_counted(samples: Samples, target: str) -> None:
    series = await samples.series("up", target=target)
    exact = Decimal("987654321098765432101.000000000000000001")
    rows = [(NOW, series, 0.5, None), (NOW - timedelta(days=1), series, -0.0, exact)]
    assert await samples.copy(rows, target) == 2
    assert await stored(samples, target) == [
        (series, NOW - timedelta(days=1), 0.0, exact),
        (series, NOW, 0.5, None),
    ]
    assert await samples.copy(rows, target) == 0
    assert len(await stored(samples, target)) == 2


async def test_the_first_of_equal_keys_wins(samples: Samples) -> None:
    series = await samples.series("up")
    later = NOW + timedelta(seconds=1)
    assert await samples.copy([(NOW, series, 1.0, None), (NOW, series, 2.0, None)]) == 1
    assert await samples.copy([(NOW, series, 3.0, None), (later, series, 4.0, None)]) == 1
    assert await stored(samples) == [(series, NOW, 1.0, None), (series, later, 4.0, None)]


async def test_each_statement_of_a_transaction_counts_for_itself(samples: Samples) -> None:
    series = await samples.series("up")
    await samples.copy([(NOW, series, 1.0, None)])
    counts = []
    async with samples.connection.transaction():
        for seconds in ([0, 1, 2], [2, 3], [0, 1]):
            await samples.connection.copy_records_to_table(
                "sample",
                schema_name="staging_internal",
                columns=COLUMNS,
                records=[(NOW + timedelta(seconds=s), series, 1.0, None) for s in seconds],
            )
            counts.append(await samples.connection.fetchval("SHOW promgres.new_rows"))
    assert counts == ["2", "1", "0"]


async def test_nan_and_stale_markers_keep_their_bits(samples: Samples) -> None:
    series = await samples.series("up")
    quiet = struct.unpack("!d", bytes.fromhex("7ff8000000000001"))[0]
    rows = [(NOW, series, STALE, Decimal("NaN")), (NOW + timedelta(seconds=1), series, quiet, None)]
    assert await samples.copy(rows) == 2
    bits = await samples.connection.fetch(
        "SELECT encode(float8send(value), 'hex') AS bits, exact::text FROM internal.sample"
        " ORDER BY time"
    )
    assert [tuple(row) for row in bits] == [
        ("7ff0000000000002", "NaN"),
        ("7ff8000000000001", None),
    ]


async def test_an_insert_into_staging_does_the_same(samples: Samples) -> None:
    series = await samples.series("up")
    await samples.copy([(NOW, series, 1.0, None)])
    await samples.connection.execute(
        "INSERT INTO staging_internal.sample VALUES ($1, $2, 7), ($1::timestamptz + '1 s', $2, 8)",
        NOW,
        series,
    )
    assert [row[2] for row in await stored(samples)] == [1.0, 8.0]


async def test_series_are_found_again_and_created_once(samples: Samples) -> None:
    keys = [bytes([n]) * 16 for n in (3, 1, 2, 3)]
    arguments = (
        keys, [1] * 4, ["internal"] * 4, ["up"] * 4, ["common"] * 4,
        ['{"a": "é"}', '{"a": "1"}', '{"b": "\\u00e9"}', '{"a": "é"}'],
    )  # fmt: skip
    call = "SELECT * FROM internal.resolve_series($1, $2, $3, $4, $5, $6)"
    first = {
        r["identity"]: r["series_id"] for r in await samples.connection.fetch(call, *arguments)
    }
    again = {
        r["identity"]: r["series_id"] for r in await samples.connection.fetch(call, *arguments)
    }
    assert set(first) == set(keys)
    assert len(set(first.values())) == 3
    assert again == first
    row = await samples.connection.fetchrow(
        "SELECT target, name, schema, labels::text, tenant_id FROM internal.series"
        " WHERE identity = $1",
        keys[0],
    )
    assert tuple(row) == ("internal", "up", "common", '{"a": "é"}', 1)


async def test_concurrent_resolvers_agree(postgres_db: Database) -> None:
    """Two daemons, the same thousand new series in opposite orders, again and again."""
    keys = [n.to_bytes(16, "big") for n in range(1000)]

    async def resolve(order: list[bytes]) -> dict[bytes, int]:
        ids = {}
        async with connect(postgres_db) as connection:
            for start in range(0, len(order), 100):
                part = order[start : start + 100]
                n = len(part)
                rows = await connection.fetch(
                    "SELECT * FROM internal.resolve_series($1, $2, $3, $4, $5, $6)",
                    part, [1] * n, ["internal"] * n, [f"m{key[-1]}" for key in part],
                    ["common"] * n, ["{}"] * n,
                )  # fmt: skip
                ids.update({row["identity"]: row["series_id"] for row in rows})
        return ids

    first, second, third = await asyncio.gather(
        resolve(keys), resolve(keys[::-1]), resolve(keys[500:] + keys[:500])
    )
    assert first == second == third
    assert len(set(first.values())) == 1000


async def test_concurrent_makers_of_partitions_do_not_fail(postgres_db: Database) -> None:
    async def make(target: str, days: int) -> int:
        async with connect(postgres_db) as connection:
            return await connection.fetchval(
                "SELECT internal.ensure_partitions($1, $2, $3)",
                target,
                NOW - timedelta(days=days),
                NOW,
            )

    for target, days in (("internal", (9, 5, 9, 1, 9)), ("cumsum", (40,) * 4)):
        made = sum(await asyncio.gather(*(make(target, each) for each in days)))
        async with connect(postgres_db) as connection:
            assert made == await connection.fetchval(COUNT_OF_PARTITIONS, target) > 1
        assert await make(target, max(days)) == 0


async def test_partitions_are_made_beside_a_long_reader_and_a_writer(
    postgres_db: Database,
) -> None:
    async with samples_of(postgres_db) as samples, connect(postgres_db) as reader:
        series = await samples.series("up")
        await samples.copy([(NOW, series, 1.0, None)])
        async with reader.transaction():
            await reader.fetch("SELECT * FROM internal.sample")
            await reader.execute(
                "INSERT INTO staging_internal.sample VALUES ($1, $2, 1)",
                NOW + timedelta(seconds=1),
                series,
            )
            made = await samples.connection.fetchval(
                "SELECT internal.ensure_partitions('internal', $1, $2)",
                NOW - timedelta(days=20),
                NOW - timedelta(days=2),
                timeout=10,
            )
    assert made == 19, "a day each: what will be packed is younger"


async def test_a_client_that_may_only_insert_gets_the_same(postgres_db: Database) -> None:
    async with samples_of(postgres_db) as samples:
        series = await samples.series("up")
        await samples.copy([(NOW, series, 1.0, None)])
        await samples.connection.execute(
            "GRANT USAGE ON SCHEMA staging_internal TO writer;"
            "GRANT INSERT ON staging_internal.sample TO writer;"
            "SET ROLE writer"
        )
        rows = [(NOW, series, 2.0, None), (NOW + timedelta(seconds=1), series, 3.0, None)]
        async with samples.connection.transaction():
            await samples.connection.copy_records_to_table(
                "sample", schema_name="staging_internal", columns=COLUMNS, records=rows
            )
            assert await samples.connection.fetchval("SHOW promgres.new_rows") == "1"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await samples.connection.fetch("SELECT * FROM internal.sample")
        await samples.connection.execute("RESET ROLE")
        assert [row[2] for row in await stored(samples)] == [1.0, 3.0]
