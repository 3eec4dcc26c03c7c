"""A partition is dropped behind the write side, as a restored dump lacks it: it is made again.

In two languages: nothing may depend on what a message says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from ingest.wire.pb import remote_write_v1_pb2 as pb
from tests.faults.test_database_restored import hang_up
from tests.support.answer import Answer
from tests.support.databases import Database, connect, execute
from tests.support.messages import payload, series
from tests.support.remote_write import WriteSide, send, snappy, write_side

NOW_MS = time.time_ns() // 1_000_000
PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass"


def _sample(name: str) -> Callable[[int], pb.TimeSeries]:
    return lambda step: series({"name": name}, (NOW_MS + step, 1.0))


def _exemplar(step: int) -> pb.TimeSeries:
    one = series({"name": "traced"}, (NOW_MS + step, 1.0))
    one.exemplars.add(
        labels=[pb.Label(name="trace_id", value="a")], value=0.5, timestamp=NOW_MS + step
    )
    return one


def _histogram(step: int) -> pb.TimeSeries:
    one = series({"name": "native"})
    one.histograms.add(count_int=0, zero_count_int=0, timestamp=NOW_MS + step)
    return one


def _remote_write(make: Callable[[int], pb.TimeSeries]) -> Callable[[WriteSide, int], Answer]:
    return lambda side, step: send(side.url, snappy(payload(make(step))))


def _push(kind: str) -> Callable[[WriteSide, int], Answer]:
    def push(side: WriteSide, step: int) -> Answer:
        item = {"name": "n", "value": step, "time": (NOW_MS + step) / 1000}
        if kind == "event":
            del item["value"]
        url = f"http://{side.address}/api/v1/{kind}"
        return send(url, json.dumps(item).encode(), {"Content-Type": "application/json"})

    return push


STORES = {
    "internal.sample": (_remote_write(_sample("plain")), 204),
    "cumsum.sample": (_remote_write(_sample("web_requests")), 204),
    "geo.sample": (_remote_write(_sample("manifest_geo_latitude")), 204),
    "internal.exemplar": (_remote_write(_exemplar), 204),
    "internal.histogram": (_remote_write(_histogram), 204),
    "app.measure": (_push("measure"), 201),
    "app.event": (_push("event"), 201),
}


async def test_a_partition_that_somebody_dropped_is_made_again(spoken_db: Database) -> None:
    with write_side(spoken_db) as side:
        for table, (write, status) in STORES.items():
            assert write(side, 0).status == status, table
            await _stored(spoken_db, {table: 1})
            for step in (1, 2):  # the second time the write side has seen it once
                await _drop_partitions(spoken_db, table)
                assert write(side, step).status == status, table
                await _stored(spoken_db, {table: 1})


async def test_yesterdays_dump_is_restored_under_a_running_write_side(spoken_db: Database) -> None:
    name = spoken_db.url.partition("?")[0].rpartition("/")[2]
    admin = spoken_db.url.replace(f"/{name}?", "/postgres?")
    with write_side(spoken_db) as side:
        await execute(
            admin,
            *hang_up(name),
            f"CREATE DATABASE dump_of_{name} TEMPLATE {name}",
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS true",
        )
        for table, (write, status) in STORES.items():
            assert write(side, 0).status == status, table
        await execute(
            admin,
            f"DROP DATABASE {name} WITH (FORCE)",
            f"ALTER DATABASE dump_of_{name} RENAME TO {name}",
        )
        for step in (1, 2):
            for table, (write, status) in STORES.items():
                assert write(side, step).status == status, table
        await _stored(spoken_db, dict.fromkeys(STORES, 2) | {"internal.sample": 4})


async def _drop_partitions(database: Database, table: str) -> None:
    async with connect(database) as connection:
        rows_of = table.replace(".sample", ".hot")  # a view has none itself
        rows_of = rows_of.replace("internal.histogram", f"internal.{database.histograms_in}")
        partitions = [row[0] for row in await connection.fetch(PARTITIONS, rows_of)]
        assert partitions
        await connection.execute(f"DROP TABLE {', '.join(partitions)}")


async def _stored(database: Database, expected: dict[str, int]) -> None:
    """Wait until the spool is written back. It takes what comes before the new connections, and
    what a busy machine does not write within five seconds."""
    deadline = time.monotonic() + 60
    found: dict[str, int] = {}
    while found != expected and time.monotonic() < deadline:
        found = {table: await _rows(database, table) for table in expected}
    assert found == expected


async def _rows(database: Database, table: str) -> int:
    async with connect(database) as connection:
        count: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
    return count
