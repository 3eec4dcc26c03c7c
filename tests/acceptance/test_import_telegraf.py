"""`promgres import telegraf`: history in Telegraf's tables, into a database of ours."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from tests.engines.sql_api import Api
from tests.support.databases import Database, connect, execute
from tests.support.processes import PROMGRES, Program, run
from tests.support.telegraf_tables import (
    COUNTS,
    OLD_ANSWERS,
    comparable,
    fill_tables,
    last_minute,
    make_tables,
    questions,
)

MINUTES, FEW = 1500, 300
"""Rows of them: 18 a minute, and 4 sums."""

STORED = """
SELECT schema, name, count(*), sum(value::text::numeric), sum(exact)
FROM (
    SELECT * FROM internal.sample UNION ALL SELECT * FROM cumsum.sample
    UNION ALL SELECT * FROM geo.sample
) AS x JOIN internal.series USING (series_id)
GROUP BY 1, 2 ORDER BY schema COLLATE "C", name COLLATE "C"
"""


@pytest.fixture
def until() -> datetime:
    return last_minute()


@pytest_asyncio.fixture
async def long_source(empty_postgres_db: Database, until: datetime) -> Database:
    """More than a day, and more than is read at once."""
    async with connect(empty_postgres_db) as connection:
        await make_tables(connection)
        await fill_tables(connection, MINUTES, until)
    return empty_postgres_db


@pytest_asyncio.fixture
async def source(empty_postgres_db: Database, until: datetime) -> Database:
    async with connect(empty_postgres_db) as connection:
        await make_tables(connection)
        await fill_tables(connection, FEW, until)
    return empty_postgres_db


def start(source: Database, target: Database, *options: str) -> Program:
    environment = {**target.environment(), "PROMGRES_IMPORT_SOURCE": source.url}
    return Program(PROMGRES, "import", "telegraf", *options, env=environment)


def imported(source: Database, target: Database, *options: str) -> str:
    with start(source, target, *options) as program:
        assert program.wait(300) == 0, program.output
    assert "Traceback" not in program.output
    return program.stdout


async def old_counts(source: Database) -> list[tuple[Any, ...]]:
    async with connect(source) as connection:
        rows = await connection.fetch(COUNTS.format("internal.prometheus_remote_write"))
        rows += await connection.fetch(COUNTS.format("cumsum.prometheus_remote_write"))
    return sorted(comparable(rows))


async def stored(target: Database) -> list[tuple[Any, ...]]:
    async with connect(target) as connection:
        return comparable(await connection.fetch(STORED))


async def test_counts_sums_and_answers_agree_with_the_old_data(
    long_source: Database, engine_db: Database, until: datetime
) -> None:
    said = imported(long_source, engine_db)
    assert f"{18 * MINUTES:,} read, {18 * MINUTES:,} stored, 0 already there, 0 left out" in said
    assert f"{4 * MINUTES:,} read, {4 * MINUTES:,} stored, 0 already there, 0 left out" in said
    assert "excluded addresses: 2 read, 2 of them new" in said
    assert [row[:4] for row in await stored(engine_db)] == await old_counts(long_source)
    async with connect(engine_db) as ours, connect(long_source) as old:
        api = Api(engine_db, ours)
        await api.roll_up()
        for name, call, arguments in questions(until, MINUTES):
            answer = comparable(await ours.fetch(f"SELECT * FROM api.{call}"))
            assert answer == comparable(await old.fetch(OLD_ANSWERS[name], *arguments)), call
            assert answer, call
        for name, call in (
            ("latest_sums", "get_all_latest_cumsum_metrics()"),
            ("places", "get_latest_geo_coordinates() ORDER BY country_name"),
        ):
            answer = comparable(await ours.fetch(f"SELECT * FROM api.{call}"))
            assert answer == comparable(await old.fetch(OLD_ANSWERS[name])), call
        addresses = await ours.fetch("SELECT value FROM api.get_excluded_addresses()")
        assert [row["value"] for row in addresses] == ["manifest1b", "manifest1a"]


async def test_the_second_time_nothing_changes(source: Database, engine_db: Database) -> None:
    imported(source, engine_db)
    before = await stored(engine_db)
    said = imported(source, engine_db)
    assert f"{18 * FEW:,} read, 0 stored, {18 * FEW:,} already there, 0 left out" in said
    assert f"{4 * FEW:,} read, 0 stored, {4 * FEW:,} already there, 0 left out" in said
    assert "2 read, 0 of them new" in said
    assert await stored(engine_db) == before


async def test_killed_in_the_middle_it_goes_on(
    long_source: Database, postgres_db: Database
) -> None:
    progress = "SELECT position FROM internal.import_progress WHERE finished_at IS NULL"
    async with connect(postgres_db) as connection:
        with start(long_source, postgres_db) as program:
            while await connection.fetchval(progress) is None:
                assert program.process.poll() is None, program.output
            program.send(signal.SIGKILL)
            assert program.wait() == -signal.SIGKILL
        reached = await connection.fetchval(progress)
        assert reached is not None  # it had not finished
        so_far = await connection.fetchval("SELECT count(*) FROM internal.sample")
        assert 0 < so_far < 18 * MINUTES
    said = imported(long_source, postgres_db)
    assert "(with those of the run before it)" in said
    assert [row[:4] for row in await stored(postgres_db)] == await old_counts(long_source)


async def test_in_one_database_beside_the_old_schemas(source: Database) -> None:
    counts = await old_counts(source)
    environment = source.environment()
    aside = run(PROMGRES, "migrate", "--beside-old-stack", env=environment)
    assert aside.process.returncode == 0, aside.output
    said = run(PROMGRES, "import", "telegraf", env=environment, seconds=120).stdout
    assert f"old_internal.prometheus_remote_write: {18 * FEW:,} read" in said
    assert "excluded addresses: 2 read, 2 of them new" in said
    assert [row[:4] for row in await stored(source)] == counts


async def test_labels_are_the_tags_without_what_is_telegrafs(
    source: Database, postgres_db: Database
) -> None:
    imported(source, postgres_db)
    async with connect(postgres_db) as connection:
        found = await connection.fetch(
            "SELECT target, schema, name, labels::text FROM internal.series ORDER BY series_id"
        )
    series = {tuple(row) for row in found}
    assert (
        "internal",
        "common",
        "node_up",
        '{"__name__": "node_up", "instance": "node-1"}',
    ) in series
    # a changing supply is one series
    supply = [row for row in series if row[2] == "manifest_tokenomics_total_supply"]
    assert sorted(row[1] for row in supply) == ["mainnet", "testnet"]
    assert 'supply":' not in supply[0][3]
    assert {row[0] for row in series if row[1] == "geo"} == {"geo"}
    assert {row[0] for row in series if row[1] == "cumsum"} == {"cumsum"}
    assert not [row for row in series if "host" in row[3]]


async def test_the_old_join_is_a_view(source: Database, engine_db: Database) -> None:
    imported(source, engine_db)
    columns = (
        "time, name, schema, value, instance, country_name, city, supply, excluded_supply, amount"
    )
    async with connect(engine_db) as ours, connect(source) as old:
        view = f"SELECT {columns} FROM internal.prometheus_remote_write_with_tags"
        join = (
            f"SELECT {columns} FROM internal.prometheus_remote_write"
            " JOIN internal.prometheus_remote_write_tag USING (tag_id)"
        )
        order = "ORDER BY time, name, schema, instance"
        assert comparable(await ours.fetch(f"{view} {order}")) == comparable(
            await old.fetch(f"{join} {order}")
        )
        sums = await ours.fetchrow(
            "SELECT count(*), sum(value), count(DISTINCT instance)"
            " FROM cumsum.prometheus_remote_write_with_tags"
        )
        assert sums[0] == 4 * FEW
        assert sums[2] == 2


async def test_a_dry_run_writes_nothing(source: Database, postgres_db: Database) -> None:
    said = imported(source, postgres_db, "--dry-run")
    would = f"{18 * FEW:,} read, {18 * FEW:,} would be stored or are there already"
    assert would in said
    assert "nothing was written" in said
    async with connect(postgres_db) as connection:
        for table in ("internal.sample", "internal.series", "internal.import_progress",
                      "internal.excluded_addresses"):  # fmt: skip
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table


async def test_only_a_period(source: Database, postgres_db: Database, until: datetime) -> None:
    start_at = (until - timedelta(minutes=9)).strftime("%Y-%m-%dT%H:%M")
    end_at = until.strftime("%Y-%m-%dT%H:%M")
    said = imported(source, postgres_db, "--from", start_at, "--to", end_at)
    assert f"{9 * 18} read, {9 * 18} stored" in said


async def test_rows_that_are_left_out_are_counted_by_reason(
    source: Database, postgres_db: Database, until: datetime
) -> None:
    insert = "INSERT INTO {}.prometheus_remote_write VALUES ('{}', {}, '{}', '{}', {})"
    old = until - timedelta(days=800)
    await execute(
        source.url,
        insert.format("internal", until, 7, "orphan", "common", 1),
        insert.format("cumsum", until, 7, "web_requests", "cumsum", 1),
        insert.format("internal", old, 101, "node_up", "common", 1),
        insert.format("internal", until + timedelta(days=1), 101, "node_up", "common", 1),
        insert.format("internal", until, 101, "huge", "common", "1e400"),
        insert.format("internal", until, 101, "fine", "common", "0.1234567890123456789012345"),
        insert.format("internal", until, 101, "longest", "common", "'1' || repeat('0', 99)")
        .replace("'1' ||", "('1' ||")
        .replace("99)", "99) || '.5')::numeric"),
        # two supplies at one time: the largest stays, as the old functions have it
        insert.format("internal", until, 1000000, "manifest_tokenomics_total_supply", "mainnet", 1),
        "UPDATE internal.prometheus_remote_write_tag SET supply = '987654321098765432999'"
        " WHERE tag_id = 1000000",
        # a label that is an amount to the old functions, and to nobody else
        insert.format("internal", until, 3000000, "bridge_fees", "common", 1),
        insert.format("internal", until, 8, "of_another", "common", 1),
        "INSERT INTO internal.prometheus_remote_write_tag (tag_id, host) VALUES (8, 'box')",
    )
    said = imported(source, postgres_db)
    assert "1 left out: without tags" in said
    assert "the oldest that target internal takes" in said
    assert "1 left out: the timestamp is in the future" in said
    assert "1 left out: the value is beyond what a float holds" in said
    assert "name = 'bridge_fees', label = 'amount'" in said
    assert "host is a label where it is box" in said
    async with connect(postgres_db) as connection:
        exact = dict(
            await connection.fetch(
                "SELECT name, exact FROM internal.sample JOIN internal.series USING (series_id)"
                " WHERE time = $1 AND schema IN ('common', 'mainnet') AND exact IS NOT NULL",
                until,
            )
        )
        orphan = await connection.fetchval(
            "SELECT labels::text FROM internal.series WHERE labels ? 'tag_id'"
        )
    assert exact["fine"] == Decimal("0.1234567890123456789012345")
    assert exact["longest"] == Decimal("1" + "0" * 99 + ".5")
    assert exact["manifest_tokenomics_total_supply"] == Decimal("987654321098765432999")
    assert exact["bridge_fees"] == Decimal("15000001")
    assert orphan == '{"tag_id": "7", "__name__": "web_requests"}'


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "the source has no table prometheus_remote_write: is it Telegraf's?"),
        (("--schema", "elsewhere"), "prometheus_remote_write in schema elsewhere"),
        (("--tenant", "nobody"), "there is no tenant 'nobody'"),
    ],
)
async def test_what_is_wrong_is_one_line(
    empty_postgres_db: Database, postgres_db: Database, options: tuple[str, ...], words: str
) -> None:
    assert_refused(start(empty_postgres_db, postgres_db, *options), words)


async def test_a_table_without_a_column_is_named(source: Database, postgres_db: Database) -> None:
    table = "internal.prometheus_remote_write"
    await execute(source.url, f"ALTER TABLE {table} RENAME COLUMN schema TO other")
    assert_refused(start(source, postgres_db), f"{table} of the source has no column schema")


async def test_a_source_that_is_not_there(postgres_db: Database) -> None:
    nowhere = Database("postgresql://postgres@127.0.0.1:1/x", "postgres")
    with Program(PROMGRES, "import", "telegraf", "--source", nowhere.url,
                 env={**postgres_db.environment(),
                      "PROMGRES_DATABASE__CONNECT_TIMEOUT_SECONDS": "0.5"}) as program:  # fmt: skip
        assert_refused(program, "the source: cannot connect to the database")


async def test_a_login_that_may_not_read_is_told(source: Database, postgres_db: Database) -> None:
    await execute(source.url, "GRANT USAGE ON SCHEMA internal, cumsum TO promgres_api")
    poor = Database(source.api_url, "postgres")
    assert_refused(start(poor, postgres_db), "the source refuses: permission denied")


async def test_a_target_that_is_not_migrated(source: Database, empty_postgres_db: Database) -> None:
    assert_refused(start(source, empty_postgres_db), "the database is not migrated")


def assert_refused(program: Program, words: str) -> None:
    with program:
        assert program.wait() == 2, program.output
        assert program.stderr.count("\n") == 1, program.output
        assert program.stderr.startswith("promgres: ")
        assert words in program.stderr
