"""A database of an earlier version upgrades in place: with data, while a sender writes.

`upgrade/f917639.sql.gz` is `pg_dump --inserts` (PostgreSQL 18) of a database that commit f917639
made and filled itself, over HTTP: samples of every route, native histograms, exemplars, metadata,
measures and events of two tenants, keys, an excluded address. It is never made again: that is the
point of it.
"""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.config import RetentionSettings
from ingest.migrate import migrate, status
from ingest.migrate.plan import read_plan
from tests.support.databases import Database, blocking, connect, execute
from tests.support.keys import bearer
from tests.support.messages import payload, series
from tests.support.remote_write import WriteSide, send, snappy, write_side

DUMP = Path(__file__).parent / "upgrade" / "f917639.sql.gz"
KEY_OF_SHOP = "pmk_dc63d0378594_UeSVi6W7SPO7PQQ7S-t3ttUOJChp3UOQhaAWPtvQPng"
"""Of tenant `shop`, with the scopes write and read."""

TABLES = (
    "internal.target", "internal.metric", "internal.series", "internal.sample", "cumsum.sample",
    "geo.sample", "internal.histogram", "internal.exemplar", "internal.metadata",
    "internal.series_start", "internal.excluded_addresses", "app.tenant", "app.measure",
    "app.event", "app.measure_name", "app.reader", "internal.setting",
)  # fmt: skip
FULL = tuple(name for name in TABLES if name != "internal.series_start")
READ = (
    "api.get_agg_metric('up', 'common', '1 hour', '2026-01-01', '2026-01-02')",
    "api.get_agg_cumsum_metric('web_requests', 'cumsum', '1 hour', '2026-01-01', '2026-01-02')",
    "api.get_agg_circulating_supply('mainnet', '1 hour', '2026-01-01', '2026-01-02')",
    "api.get_latest_geo_coordinates()",
    "api.histogram_count('rpc_seconds', 'common', '1 hour', '2026-01-01', '2026-01-02')",
    "api.get_exemplars('calls_total', 'common', '2026-01-01', '2026-01-02')",
    "api.get_metric_metadata()",
    "api.get_excluded_addresses()",
    "geo.latest_coords",
    "internal.prometheus_mainnet_1m",
)


@pytest.fixture
def old_db(postgres_db: Database, empty_postgres_db: Database) -> Database:
    """The dump, restored. Roles belong to the cluster, which made them for `postgres_db`."""
    blocking(execute(empty_postgres_db.url, gzip.decompress(DUMP.read_bytes()).decode()))
    return empty_postgres_db


async def rows(database: Database, *relations: str) -> set[str]:
    """Every row as text, with what it is of; a column that came since and is empty says nothing."""
    async with connect(database) as connection:
        return {
            f"{relation} {row[0]}"
            for relation in relations
            for row in await connection.fetch(
                f"SELECT jsonb_strip_nulls(to_jsonb(t))::text FROM {relation} AS t"
            )
        }


async def functions(database: Database) -> set[str]:
    """What schema `api` has, and who may call it."""
    async with connect(database) as connection:
        found = await connection.fetch(
            "SELECT concat_ws(' ', oid::regprocedure, proacl) FROM pg_proc"
            " WHERE pronamespace = 'api'::regnamespace"
        )
    return {row[0] for row in found}


class Sender:
    """Writes sample after sample, and remembers which were taken."""

    def __init__(self, side: WriteSide) -> None:
        self._side = side
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.statuses: list[int] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """From before the block until after it."""
        self._thread.start()
        try:
            self._wait_for_more()
            yield
            self._wait_for_more()
        finally:
            self._ended.set()
            self._thread.join(30)

    def _work(self) -> None:
        now_ms = int(time.time() * 1000)
        while not self._ended.is_set():
            number = len(self.statuses)
            labels = {"__name__": "while_it_upgrades", "lane": str(number % 3)}
            self.statuses.append(self._side.write(series(labels, (now_ms + number, number))).status)

    def _wait_for_more(self) -> None:
        wanted, until = len(self.statuses) + 20, time.monotonic() + 60
        while len(self.statuses) < wanted:
            assert time.monotonic() < until, "the sender is stuck"
            time.sleep(0.05)


async def test_in_place_while_a_sender_writes(old_db: Database) -> None:
    settings = old_db.settings(retention=RetentionSettings(internal_days=None, app_days=None))
    before, read = await rows(old_db, *TABLES), await rows(old_db, *READ)
    assert all(any(row.startswith(each) for row in before | read) for each in (*FULL, *READ))
    offered = await functions(old_db)
    pending = (await status(old_db.url, settings)).pending
    assert not any("/migrations/0001" in name for name in pending), "known by its name"
    with write_side(old_db) as side:
        sender = Sender(side)
        with sender.at_work():
            report = await migrate(old_db.url, settings)
        assert set(sender.statuses) == {204}
        mine = series({"__name__": "after_it"}, (int(time.time() * 1000), 1.0))
        assert send(side.url, snappy(payload(mine)), bearer(KEY_OF_SHOP)).status == 204

    assert report.applied == pending
    assert before <= await rows(old_db, *TABLES), "nothing is lost"
    assert read == await rows(old_db, *READ), "and it reads the same"
    assert offered <= await functions(old_db)
    names = [
        file.name for files in vars(read_plan("postgres", ["manifest"])).values() for file in files
    ]
    async with connect(old_db) as connection:
        stored = await connection.fetch(
            "SELECT x.value FROM internal.sample AS x JOIN internal.series USING (series_id)"
            " WHERE name = 'while_it_upgrades' ORDER BY 1"
        )
        record = await connection.fetch("SELECT file FROM internal.migration")
        of_objects = await connection.fetch("SELECT DISTINCT file FROM internal.object")
        missing = await connection.fetch("SELECT * FROM internal.missing_object")
        whose = await connection.fetchval(
            "SELECT t.name FROM internal.series JOIN app.tenant AS t USING (tenant_id)"
            " WHERE series.name = 'after_it'"
        )
    assert [row["value"] for row in stored] == list(range(len(sender.statuses)))
    assert sorted(row["file"] for row in record) == sorted(names), "old names are forgotten"
    assert {row["file"] for row in of_objects} <= set(names)
    assert (missing, whose) == ([], "shop")
    assert (await migrate(old_db.url, settings)).applied == []


async def test_in_place_and_without_its_pack(old_db: Database) -> None:
    before, offered = await rows(old_db, *TABLES), await functions(old_db)
    settings = old_db.settings(
        packs=[], retention=RetentionSettings(internal_days=None, app_days=None)
    )
    await migrate(old_db.url, settings)
    left = await functions(old_db)
    assert before <= await rows(old_db, *TABLES)
    assert left < offered
    assert not any("supply" in each or "geo" in each or "excluded" in each for each in left)
