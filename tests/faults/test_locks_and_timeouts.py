"""The database is there, but somebody holds what the write side needs, or cuts its time short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.crowd import Crowd, assert_stored
from tests.support.databases import Database, blocking, connect, execute
from tests.support.messages import series
from tests.support.metrics import Metrics
from tests.support.processes import wait_until
from tests.support.remote_write import WriteSide, write_side

SEED = 20260131
QUICK = {"PROMGRES_SPOOL__AFTER": "1"}
STAGING = "staging_internal.sample"
BLOAT = f"""
ALTER TABLE {STAGING} DISABLE TRIGGER ALL;
INSERT INTO {STAGING} SELECT now(), n, n, NULL FROM generate_series(1, 1500000) AS n;
ALTER TABLE {STAGING} ENABLE TRIGGER ALL;
"""
HOLD = """
INSERT INTO internal.hot (time, series_id, value)
SELECT to_timestamp($1::int8 / 1000), series_id, 0 FROM internal.series WHERE name = 'held'
"""
HELD_UP = (
    "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
)


@pytest.fixture
def side(postgres_db: Database) -> Iterator[WriteSide]:
    """A write side that spools after a second."""
    with write_side(postgres_db, **QUICK) as running:
        yield running


@pytest.mark.parametrize("table", ["internal.sample", "cumsum.sample", "internal.series"])
async def test_somebody_locks_a_table(side: WriteSide, postgres_db: Database, table: str) -> None:
    """For longer than a request waits: it is spooled, and written when the table is free."""
    with Crowd(side.url, SEED) as crowd:
        crowd.wait_for_acknowledged(30)
        async with locked(postgres_db, table):
            wait_until(lambda: spooled(side) >= 20, what="requests are spooled")
            Metrics(side.address).assert_balanced()
        crowd.wait_for_acknowledged(20)
        crowd.pause()
        await asyncio.to_thread(all_is_stored, side, postgres_db, crowd)
        assert set(crowd.statuses) == {204}


async def test_staging_is_emptied_when_nobody_holds_it(
    side: WriteSide, postgres_db: Database
) -> None:
    """A dump reads it: it is left alone, and writing goes on. Then it is emptied."""
    await execute(postgres_db.url, BLOAT)
    with Crowd(side.url, SEED) as crowd:
        async with locked(postgres_db, STAGING, "ACCESS SHARE"):
            wait_until(lambda: emptied(side, "locked") > 0, what="it was tried")
            crowd.wait_for_acknowledged(20)
        wait_until(lambda: emptied(side, "done") > 0, what="staging is emptied")
        crowd.wait_for_acknowledged(20)
        crowd.pause()
        await asyncio.to_thread(all_is_stored, side, postgres_db, crowd)
        assert set(crowd.statuses) == {204}
    async with connect(postgres_db) as connection:
        size: int = await connection.fetchval("SELECT pg_relation_size($1::regclass)", STAGING)
    assert size < 64 * 1024 * 1024


def test_a_statement_timeout_that_large_batches_run_into(
    postgres_db: Database, open_path: Path
) -> None:
    """What does not fit in time together is written one by one."""
    slow_down(postgres_db, rows_per_second=20_000)
    limit_statements(postgres_db, "200ms")
    settings = {"PROMGRES_DATA_DIR": str(open_path), **QUICK}
    with (
        write_side(postgres_db, **settings) as side,
        Crowd(side.url, SEED, senders=8, samples=1000) as crowd,
    ):
        crowd.wait_for_acknowledged(30)
        crowd.pause()
        all_is_stored(side, postgres_db, crowd)
        assert set(crowd.statuses) <= {204, 503}
        assert "canceling statement due to statement timeout" in side.program.output


async def test_two_write_sides_that_deadlock(postgres_db: Database) -> None:
    """Each stores straight what the other one, to whom it may be a duplicate, sends by staging. A
    third session holds both until each has one half. The victim is tried again; all is stored."""
    at_ms = time.time_ns() // 60_000_000_000 * 60_000 - 60_000
    names = ["held", "left", "right", "left_1", "left_2", "right_1", "right_2"]
    with write_side(postgres_db) as left, write_side(postgres_db) as right:
        alone_and_first = series({"name": "held"}, (at_ms - 1000, 1.0))  # the smallest id
        assert (await asyncio.to_thread(left.write, alone_and_first)).status == 204
        for side, own, other in ((left, "left", "right"), (right, "right", "left")):
            first = [series({"name": name}, (at_ms, 1.0)) for name in names]
            first += [series({"name": name}, (at_ms + 2000, 1.0)) for name in ("held", other)]
            for _ in range(3):  # who has met a duplicate remembers what comes after it,
                assert (await asyncio.to_thread(side.write, *first)).status == 204
            for n in range(4):  # and in the end trusts the straight way again
                more = series({"name": f"{own}_1"}, (at_ms + n + 1, 1.0))
                assert (await asyncio.to_thread(side.write, more)).status == 204
        both = [series({"name": name}, (at_ms + 1000, 1.0)) for name in names[:3]]
        alone = {
            side: [series({"name": f"{name}_{n}"}, (at_ms + 1000, 1.0)) for n in (1, 2)]
            for side, name in ((left, "left"), (right, "right"))
        }
        async with connect(postgres_db) as connection:
            holding = connection.transaction()
            await holding.start()
            await connection.execute(HOLD, at_ms + 1000)
            sending = [
                asyncio.create_task(asyncio.to_thread(side.write, *both, *alone[side]))
                for side in (left, right)
            ]
            while await connection.fetchval(HELD_UP) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await holding.rollback()
        assert [answer.status for answer in await asyncio.gather(*sending)] == [204, 204]
        found = [Metrics(side.address) for side in (left, right)]
    retried = [
        each.value("promgres_batch_retries_total", target="internal", reason="deadlock")
        for each in found
    ]
    assert sum(retried) == 1
    for each in found:
        each.assert_balanced()
    # One, seven names, three newer samples, four of each; then three that both sent, two of each.
    assert sum(each.samples("written") for each in found) == 1 + 7 + 3 + 8 + 3 + 4
    async with connect(postgres_db) as connection:
        assert await connection.fetchval("SELECT count(*) FROM internal.sample") == 26


def slow_down(database: Database, rows_per_second: int) -> None:
    """One writer gets no more than so many rows into the database."""
    function = "internal.be_slow()"
    statements = [
        f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" PERFORM pg_sleep((SELECT count(*) FROM added) / {rows_per_second}.0);"
        " RETURN NULL; END $$",
        "CREATE TRIGGER be_slow AFTER INSERT ON internal.hot REFERENCING NEW TABLE AS added"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {function}",
    ]
    blocking(execute(database.url, *statements))


def limit_statements(database: Database, duration: str) -> None:
    name = database.url.partition("?")[0].rpartition("/")[2]
    blocking(execute(database.url, f"ALTER DATABASE {name} SET statement_timeout = '{duration}'"))


def all_is_stored(side: WriteSide, database: Database, crowd: Crowd) -> None:
    """Once every sample is decided."""
    wait_until(lambda: Metrics(side.address).at_rest, 90, what="every sample is decided")
    assert_stored(database, crowd.requests)
    Metrics(side.address).assert_balanced()


def spooled(side: WriteSide) -> float:
    return Metrics(side.address).value("promgres_spool_appended_total")


def emptied(side: WriteSide, result: str) -> float:
    return Metrics(side.address).value(
        "promgres_staging_emptied_total", target="internal", result=result
    )


@asynccontextmanager
async def locked(
    database: Database, table: str, mode: str = "ACCESS EXCLUSIVE"
) -> AsyncIterator[None]:
    """Somebody else's transaction, as long as the block runs."""
    async with connect(database) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN {mode} MODE")
        yield
