"""`promgres import telegraf` from the old stack itself: tables of its migrations, a million rows,
and its own functions, which say what is right.

Needs its files (PROMGRES_TEST_OLD_STACK) and a TimescaleDB with workers; `test_import_telegraf.py`
asks the same of tables of our own, with SQL of our own.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Database, blocking, connect, execute
from tests.support.native_timescaledb import NativeServer
from tests.support.processes import PROMGRES, Program
from tests.support.telegraf_tables import COUNTS, comparable, fill_tables, last_minute, questions

OLD_STACK = "PROMGRES_TEST_OLD_STACK"
MINUTES = 45_500
"""A million rows: 18 a minute, and 4 sums."""
AGGREGATES = (
    "cumsum.all_metrics_minute",
    "internal.cagg_calculated_metric",
    "internal.prometheus_mainnet_1m",
    "internal.prometheus_testnet_1m",
    "internal.prometheus_common_1m",
    "geo.latest_coords",
)
LATEST = (
    *[f"get_latest_{what}('{tier}')"
      for tier in ("mainnet", "testnet")
      for what in ("circulating_supply", "burned_supply", "fdv", "market_cap")],
    "get_all_latest_token_metrics('mainnet')",
    "get_latest_mainnet_circulating_supply_value()",
    "get_latest_mainnet_total_supply_value()",
    "get_all_latest_cumsum_metrics()",
    "get_latest_geo_coordinates() ORDER BY 3, 4",
)  # fmt: skip
STORED = """
SELECT schema, name, count(*), sum(value::text::numeric)
FROM (
    SELECT * FROM internal.sample UNION ALL SELECT * FROM cumsum.sample
    UNION ALL SELECT * FROM geo.sample
) AS x JOIN internal.series USING (series_id)
GROUP BY 1, 2
"""


@pytest.fixture
def old_stack(native_server: NativeServer) -> Iterator[Database]:
    """Its database, made by its own migrations, with a million rows."""
    if not (folder := os.environ.get(OLD_STACK)):
        pytest.skip(f"{OLD_STACK} names no clone of the old stack")
    with native_server.lend(migrated=False, workers=True) as url:
        migrations = sorted(Path(folder, "timescaledb/migrations").glob("*.up.sql"))
        blocking(
            execute(
                url,
                "CREATE EXTENSION IF NOT EXISTS timescaledb",
                *[file.read_text() for file in migrations],
            )
        )
        database = Database(url, "timescaledb")
        blocking(_fill(database))
        yield database


async def _fill(database: Database) -> None:
    async with connect(database) as connection:
        await fill_tables(connection, MINUTES, last_minute())
        for name in AGGREGATES:
            # in one transaction: by default they are cut into tens of buckets (2.28), for hours
            options = "options => '{\"buckets_per_batch\": 0}'"
            await connection.execute(
                f"CALL refresh_continuous_aggregate('{name}', NULL, now(), {options})"
            )


def _start(source: Database, target: Database) -> Program:
    environment = {**target.environment(), "PROMGRES_IMPORT_SOURCE": source.url}
    return Program(PROMGRES, "import", "telegraf", env=environment)


async def _rows(database: Database, *statements: str) -> list[tuple[Any, ...]]:
    async with connect(database) as connection:
        return [row for each in statements for row in comparable(await connection.fetch(each))]


@pytest.mark.timeout(1200)
async def test_a_million_rows_agree_with_the_old_functions(
    old_stack: Database, native_db: Database
) -> None:
    with _start(old_stack, native_db) as program:  # killed in the middle
        async with connect(native_db) as connection:
            while not await connection.fetchval("SELECT count(*) > 300000 FROM internal.sample"):
                assert program.process.poll() is None, program.output
        program.send(signal.SIGKILL)
        program.wait()
    started = time.monotonic()
    with _start(old_stack, native_db) as program:
        assert program.wait(600) == 0, program.output
    print(f"after the kill: {time.monotonic() - started:.1f} s\n{program.output}")
    assert "(with those of the run before it)" in program.stdout

    stored = sorted(await _rows(native_db, STORED))
    assert stored == sorted(
        await _rows(
            old_stack,
            COUNTS.format("internal.prometheus_remote_write"),
            COUNTS.format("cumsum.prometheus_remote_write"),
        )
    )
    assert sum(row[2] for row in stored) == 22 * MINUTES
    until = last_minute()
    calls = [call for _, call, _ in questions(until, MINUTES)]
    for call in (*calls, *LATEST):
        ours, theirs = [
            await _rows(each, f"SELECT * FROM api.{call}") for each in (native_db, old_stack)
        ]
        assert ours == theirs, call
        assert ours, call
    addresses = "SELECT value FROM api.get_excluded_addresses() ORDER BY id"
    assert await _rows(native_db, addresses) == await _rows(old_stack, addresses)

    with _start(old_stack, native_db) as program:  # once more: nothing changes
        assert program.wait(600) == 0, program.output
    print(program.output)
    assert f"{18 * MINUTES:,} read, 0 stored, {18 * MINUTES:,} already there" in program.stdout
    assert sorted(await _rows(native_db, STORED)) == stored
