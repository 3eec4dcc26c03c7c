"""One sample that cannot be stored costs itself, and no other; the answer says which and why."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.wire.pb import remote_write_v1_pb2 as pb
from tests.support.databases import Database, blocking, connect, execute
from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, run, wait_until
from tests.support.remote_write import WriteSide, series, write_side

NOW_MS = time.time_ns() // 1_000_000
GOOD = 10_000
FORBIDDEN = 666.0
TOO_WIDE = "9" * 101
CONSTRAINT = "ALTER TABLE internal.sample ADD CONSTRAINT no_beast CHECK (value <> 666)"
NO_EVIL = "ALTER TABLE internal.series ADD CONSTRAINT no_evil CHECK (NOT labels ? 'evil')"
COUNT = "SELECT count(*) FROM internal.sample"


@pytest.fixture
def side(postgres_db: Database, tmp_path: Path) -> Iterator[WriteSide]:
    """A write side on a database with a rule of its own."""
    blocking(execute(postgres_db.url, CONSTRAINT))
    settings = {"PROMGRES_SPOOL__AFTER": "2", "PROMGRES_DATA_DIR": str(tmp_path)}
    with write_side(postgres_db, **settings) as running:
        yield running


def good(metric: str = "good") -> list[pb.TimeSeries]:
    return [series({"name": metric, "i": str(i)}, (NOW_MS, i + 0.5)) for i in range(GOOD)]


async def test_in_a_batch_of_ten_thousand(side: WriteSide, postgres_db: Database) -> None:
    """NaN can be stored; so can a number too wide for NUMERIC, as the label that it came as."""
    request = good()
    request[17:17] = [series({"name": "odd"}, (NOW_MS, math.nan))]
    supply = {"name": "manifest_tokenomics_total_supply", "supply": TOO_WIDE}
    request[5000:5000] = [series(supply, (NOW_MS, 1.0))]
    request[9000:9000] = [series({"name": "beast", "kind": "great"}, (NOW_MS, FORBIDDEN))]
    for _ in range(2):  # the series are new, then known
        answer = side.write(*request)
        assert answer.status == 400
        assert answer.text.startswith("1 of 10003 samples refused, the others are stored:\n")
        assert 'beast{kind="great"}' in answer.text
        assert "no_beast" in answer.text
        assert len(answer.text.splitlines()) == 2
    async with connect(postgres_db) as connection:
        assert await connection.fetchval(COUNT) == GOOD + 2
        assert await connection.fetchval(f"{COUNT} WHERE value = 'NaN'") == 1
        kept = await connection.fetchval(
            "SELECT labels->>'supply' FROM internal.sample JOIN internal.series USING (series_id)"
            " WHERE name = 'manifest_tokenomics_total_supply' AND exact IS NULL"
        )
        assert kept == TOO_WIDE
    counted = Metrics(side.address)
    counted.assert_balanced()
    assert counted.samples("rejected") == 2
    assert counted.samples("written") == GOOD + 2


async def test_through_the_spool(side: WriteSide, postgres_db: Database, tmp_path: Path) -> None:
    """It was acknowledged, so it is kept where the operator finds it."""
    request = good()
    request[5000:5000] = [series({"name": "beast"}, (NOW_MS, FORBIDDEN))]
    async with locked(postgres_db):
        assert side.write(*request).status == 204
    wait_until(lambda: Metrics(side.address).value("promgres_spool_requests") == 0)
    async with connect(postgres_db) as connection:
        assert await connection.fetchval(COUNT) == GOOD
    rejected = run(PROMGRES, "spool", "rejected", "--data-dir", tmp_path).stdout
    assert "beast 666.0 at 20" in rejected
    assert "no_beast" in rejected
    counted = Metrics(side.address)
    counted.assert_balanced()
    assert counted.samples("rejected") == 1


async def test_requests_that_share_a_copy_with_it(side: WriteSide, postgres_db: Database) -> None:
    bad = [series({"name": "beast"}, (NOW_MS, FORBIDDEN))]
    others = [[series({"name": "good", "i": str(i)}, (NOW_MS, 1.0))] for i in range(20)]
    with ThreadPoolExecutor(len(others) + 1) as pool:
        async with locked(postgres_db):
            answers = [pool.submit(side.write, *one) for one in [bad, *others]]
            await asyncio.to_thread(
                wait_until, lambda: Metrics(side.address).in_flight == len(answers), 10
            )
    assert [answer.result().status for answer in answers] == [400] + [204] * len(others)


@asynccontextmanager
async def locked(database: Database) -> AsyncIterator[None]:
    """Nobody gets at the samples while the block runs."""
    async with connect(database) as connection, connection.transaction():
        await connection.execute("LOCK TABLE internal.sample IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_series_that_the_database_refuses(side: WriteSide, postgres_db: Database) -> None:
    await execute(postgres_db.url, NO_EVIL)
    request = good()
    request[5000:5000] = [series({"name": "bad", "evil": "yes"}, (NOW_MS, 1.0), (NOW_MS + 1, 2.0))]
    answer = side.write(*request)
    assert answer.status == 400
    assert answer.text.startswith("2 of 10002 samples refused, the others are stored:\n")
    assert 'bad{evil="yes"}' in answer.text
    assert "no_evil" in answer.text
    async with connect(postgres_db) as connection:
        assert await connection.fetchval(COUNT) == GOOD
    Metrics(side.address).assert_balanced()
