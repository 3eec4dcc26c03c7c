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
from ingest.wire.pb import remote_write_v2_pb2 as pb2
from tests.support.databases import Database, blocking, connect, execute
from tests.support.messages import HEADERS_V2, series
from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, run, wait_until
from tests.support.remote_write import WriteSide, send, snappy, write_side

NOW_MS = time.time_ns() // 1_000_000
GOOD = 10_000
FORBIDDEN = 666.0
TOO_WIDE = "9" * 101
CONSTRAINT = "ALTER TABLE internal.hot ADD CONSTRAINT no_beast CHECK (value <> 666)"
NO_EVIL = "ALTER TABLE internal.series ADD CONSTRAINT no_evil CHECK (NOT labels ? 'evil')"
COUNT = "SELECT count(*) FROM internal.sample"


@pytest.fixture
def side(postgres_db: Database, open_path: Path) -> Iterator[WriteSide]:
    """A write side on a database with a rule of its own."""
    blocking(execute(postgres_db.url, CONSTRAINT))
    settings = {"PROMGRES_SPOOL__AFTER": "2", "PROMGRES_DATA_DIR": str(open_path)}
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


async def test_through_the_spool(side: WriteSide, postgres_db: Database, open_path: Path) -> None:
    """It was acknowledged, so it is kept where the operator finds it."""
    request = good()
    request[5000:5000] = [series({"name": "beast"}, (NOW_MS, FORBIDDEN))]
    async with locked(postgres_db):
        assert side.write(*request).status == 204
    wait_until(lambda: Metrics(side.address).value("promgres_spool_requests") == 0)
    async with connect(postgres_db) as connection:
        assert await connection.fetchval(COUNT) == GOOD
    rejected = run(PROMGRES, "spool", "rejected", "--data-dir", open_path).stdout
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


def shared_symbol(count: int, length: int) -> bytes:
    """A 2.0 request whose series all have one long label value; each is a series of its own."""
    request = pb2.Request(symbols=["", "__name__", "poison", "long", "x" * length, "i"])
    for number in range(count):
        request.symbols.append(str(number))
        one = request.timeseries.add(labels_refs=[1, 2, 3, 4, 5, 5 + number + 1])
        one.samples.add(value=1.0, timestamp=NOW_MS)
    return request.SerializeToString()


@pytest.mark.parametrize("count", [1100, 2000])
def test_series_that_repeat_a_long_symbol(
    side: WriteSide, postgres_db: Database, count: int
) -> None:
    """More than a GB of labels, once PostgreSQL would see it: it is told at once."""
    body = snappy(shared_symbol(count, 1024 * 1024))
    answer = send(side.url, body, HEADERS_V2)
    assert answer.status == 400
    assert "limits.text_bytes_per_request" in answer.text
    assert side.write(series({"name": "other"}, (NOW_MS, 1.0))).status == 204
    assert Metrics(side.address).value("promgres_spool_requests") == 0


async def test_long_labels_are_created_in_several_messages(
    side: WriteSide, postgres_db: Database
) -> None:
    """As much text as a request may have."""
    answer = send(side.url, snappy(shared_symbol(120, 1024 * 1024)), HEADERS_V2)
    assert answer.status == 204
    wait_until(lambda: Metrics(side.address).value("promgres_spool_requests") == 0, 120)
    async with connect(postgres_db) as connection:
        assert await connection.fetchval(COUNT) == 120


def test_a_label_set_that_no_database_takes(side: WriteSide) -> None:
    """It costs itself, not its request."""
    request = pb2.Request.FromString(shared_symbol(1, 1024 * 1024))
    for number in range(10):
        request.symbols.append(f"again_{number}")
        request.timeseries[0].labels_refs.extend([len(request.symbols) - 1, 4])
    request.timeseries.add(labels_refs=[1, 2]).samples.add(value=1.0, timestamp=NOW_MS)
    answer = send(side.url, snappy(request.SerializeToString()), HEADERS_V2)
    assert answer.status == 400
    assert answer.text.startswith("1 of 2 samples refused")
    assert "that can be stored" in answer.text
