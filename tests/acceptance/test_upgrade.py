"""A database of an earlier version upgrades in place: with data, while a sender writes.

`upgrade/f917639.sql.gz` is `pg_dump --inserts` (PostgreSQL 18) of a database that commit f917639,
from before there were blocks, made and filled itself, over HTTP: samples of every route, native
histograms, exemplars, metadata, measures and events of two tenants, keys, an excluded address. It
is never made again: that is the point of it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from ingest.config import RetentionSettings, StorageSettings
from ingest.errors import MigrationError
from ingest.migrate import migrate, status
from ingest.migrate.plan import read_plan
from tests.support.blocks import pack
from tests.support.databases import Database, connect, execute
from tests.support.keys import bearer
from tests.support.messages import payload, series
from tests.support.metrics import Metrics
from tests.support.processes import wait_until
from tests.support.remote_write import WriteSide, send, snappy, write_side

MIGRATIONS = Path(__file__).parents[2] / "sql" / "engines" / "postgres" / "migrations"
BLOCKS, HISTOGRAMS = MIGRATIONS / "0015_blocks.sql", MIGRATIONS / "0022_packed_histograms.sql"
DAY_MS = 86_400_000
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


async def write_as_before(connection: asyncpg.Connection, at: datetime) -> list[int]:
    """What the write side of that commit says for a sample of a new series, to the letter: it goes
    on beside a newer schema until it is replaced. How many rows were new, the second time, too."""
    row = (at, await connection.fetchval(
        "SELECT series_id FROM internal.resolve_series($1, $2, $3, $4, $5, $6)",
        [uuid4().bytes], [1], ["internal"], ["as_before"], ["common"], ['{"__name__":"as_before"}'],
    ), 1.0, None)  # fmt: skip
    await connection.execute("SELECT internal.ensure_partitions($1, $2, $2)", "internal", at)

    async def copy(schema: str) -> None:
        columns = ("time", "series_id", "value", "exact")
        await connection.copy_records_to_table(
            "sample", schema_name=schema, columns=columns, records=[row]
        )

    with pytest.raises(asyncpg.FeatureNotSupportedError):  # which it takes for compressed chunks
        await copy("internal")
    counts = []
    for _ in range(2):
        async with connection.transaction():
            await copy("staging_internal")
            counts.append(
                await connection.fetchval(
                    "SELECT nullif(current_setting('promgres.new_rows', true), '')::bigint"
                )
            )
    return counts


class Sender:
    """Writes sample after sample, and remembers which were taken: at irregular times, and every
    fifth is late, of a time that may be packed by then."""

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
        now_ms, jitter = int(time.time() * 1000), random.Random(13)
        while not self._ended.is_set():
            number = len(self.statuses)
            labels = {"__name__": "while_it_upgrades", "lane": str(number % 3)}
            at_ms = now_ms + 20 * number + jitter.randrange(20)
            if number % 5 == 4:
                at_ms -= 2 * DAY_MS
            self.statuses.append(self._side.write(series(labels, (at_ms, number))).status)

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
            assert "waits for promgres migrate" in side.program.output
            report = await migrate(old_db.url, settings)
        assert set(sender.statuses) == {204}
        mine = series({"__name__": "after_it"}, (int(time.time() * 1000), 1.0))
        assert send(side.url, snappy(payload(mine)), bearer(KEY_OF_SHOP)).status == 204
        wait_until(lambda: Metrics(side.address).at_rest, what="the spool is empty")
        assert Metrics(side.address).samples("rejected") == 0

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
    assert offered - left, "its functions are gone"
    assert not any("supply" in each or "geo" in each or "excluded" in each for each in left)


OF_OTHERS = """
CREATE ROLE {bi} NOLOGIN; CREATE ROLE {analyst} NOLOGIN;
CREATE SCHEMA {bi} AUTHORIZATION {bi};
GRANT USAGE ON SCHEMA internal TO {bi}, {analyst};
GRANT SELECT ON internal.sample, internal.histogram, internal.series TO {bi} WITH GRANT OPTION;
GRANT SELECT (time, value) ON internal.sample TO {analyst};
SET ROLE {bi};
CREATE VIEW {bi}.values (at, of, "The Value") WITH (security_barrier, security_invoker=false) AS
    SELECT time, series_id, value FROM internal.sample WHERE value <> 'NaN';
COMMENT ON VIEW {bi}.values IS 'what bi shows';
ALTER VIEW {bi}.values ALTER COLUMN of SET DEFAULT 7;
CREATE VIEW {bi}.total AS SELECT count(*), sum("The Value") FROM {bi}.values;
CREATE VIEW {bi}.observed AS
    SELECT count(*) AS n, sum(h.count) AS observations, sum(positive_counts[2]) AS second
    FROM internal.histogram AS h;
GRANT USAGE ON SCHEMA {bi} TO {analyst};
GRANT SELECT ON {bi}.values, {bi}.total, {bi}.observed TO {analyst};
RESET ROLE
"""
OBSTACLES = {
    "CREATE MATERIALIZED VIEW public.kept AS SELECT * FROM internal.sample":
        "DROP MATERIALIZED VIEW public.kept;",
    "CREATE FUNCTION public.counted() RETURNS bigint BEGIN ATOMIC"
    " SELECT count(*) FROM internal.sample; END": "function public.counted()",
    "CREATE FUNCTION public.one() RETURNS internal.sample LANGUAGE sql"
    " AS 'SELECT * FROM internal.sample LIMIT 1'": "function public.one()",
    "CREATE PUBLICATION samples FOR TABLE cumsum.sample":
        "ALTER PUBLICATION samples DROP TABLE cumsum.sample;",
    "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
    "CREATE TRIGGER mine BEFORE INSERT ON internal.sample FOR EACH ROW EXECUTE FUNCTION public.f()":
        "DROP TRIGGER mine ON internal.sample;",
    "CREATE RULE mine AS ON DELETE TO internal.sample DO ALSO NOTHING":
        "DROP RULE mine ON internal.sample;",
    "CREATE POLICY mine ON internal.sample USING (true)": "DROP POLICY mine ON internal.sample;",
    "CREATE VIEW public.physical AS SELECT ctid FROM internal.sample":
        "DROP VIEW public.physical;",
    "CREATE VIEW public.checked AS SELECT * FROM geo.sample WITH CHECK OPTION":
        "ALTER VIEW public.checked RESET (check_option);",
}  # fmt: skip


async def test_views_of_others_follow(old_db: Database) -> None:
    """Over the new name: with owner, grants, options, columns, comment, and what is on them."""
    bi, analyst = f"bi_{os.getpid()}", f"analyst_{os.getpid()}"
    settings = old_db.settings(
        retention=RetentionSettings(internal_days=None), storage=StorageSettings(pack=True)
    )
    about = (
        "SELECT c.relname, c.relkind::text, pg_get_userbyid(c.relowner), c.relacl::text,"
        " c.reloptions::text, obj_description(c.oid), (SELECT array_agg((attname, atttypid,"
        " pg_get_expr(adbin, adrelid))::text) FROM pg_attribute LEFT JOIN pg_attrdef"
        " ON adrelid = attrelid AND adnum = attnum WHERE attrelid = c.oid)"
        f" FROM pg_class c WHERE relnamespace = '{bi}'::regnamespace ORDER BY 1"
    )
    try:
        await execute(old_db.url, OF_OTHERS.format(bi=bi, analyst=analyst))
        async with connect(old_db) as connection:
            before = await connection.fetch(about)
            both = f"SELECT * FROM {bi}.total, {bi}.observed"
            total = await connection.fetchrow(both)
            await migrate(old_db.url, settings)
            await connection.execute("UPDATE internal.setting SET value = 'on' WHERE key ~ 'pack$'")
            await pack(connection, datetime.now(UTC) + timedelta(days=9))
            while await connection.fetchval("SELECT internal.pack_histograms(p_quiet => '0')"):
                pass
            for table in ("block", "histogram_block"):
                assert await connection.fetchval(f"SELECT count(*) FROM internal.{table}") > 0
            for table in ("hot", "histogram_row"):
                assert await connection.fetchval(f"SELECT count(*) FROM internal.{table}") == 0
            assert await connection.fetch(about) == before
            for role in (bi, analyst):
                await connection.execute(f"SET ROLE {role}")
                assert await connection.fetchrow(both) == total
                assert await connection.fetchval("SELECT count(time) FROM internal.sample") > 0
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("SELECT series_id FROM internal.sample")
    finally:
        await execute(old_db.url, f"DROP OWNED BY {bi}, {analyst} CASCADE",
                      f"DROP ROLE {bi}, {analyst}")  # fmt: skip


async def test_what_cannot_follow_stops_the_upgrade(old_db: Database) -> None:
    """By name, with the statement to type, before anything is changed."""
    trials = [(BLOCKS, obstacle, todo) for obstacle, todo in OBSTACLES.items()]
    names = "internal.sample", "internal.histogram"
    for _, obstacle, todo in trials[:]:
        if names[0] in obstacle:
            trials.append((HISTOGRAMS, obstacle.replace(*names), todo.replace(*names)))
    for migration, obstacle, todo in trials:
        async with connect(old_db) as connection:
            trial = connection.transaction()
            await trial.start()
            await connection.execute(f"{obstacle}; SET LOCAL ROLE promgres_owner")
            with pytest.raises(asyncpg.PostgresError, match="nothing is changed") as stopped:
                await connection.execute(migration.read_text())
            assert todo in str(stopped.value), str(stopped.value)
            await trial.rollback()
    both = list(OBSTACLES)[:2]
    await execute(old_db.url, *both)
    before = await rows(old_db, "internal.sample", "cumsum.sample", "geo.sample")
    with pytest.raises(MigrationError, match=r"function public\.counted.* \| materialized view"):
        await migrate(old_db.url, old_db.settings())
    assert before == await rows(old_db, "internal.sample", "cumsum.sample", "geo.sample")
    await execute(
        old_db.url, "DROP MATERIALIZED VIEW public.kept", "DROP FUNCTION public.counted()"
    )
    await migrate(old_db.url, old_db.settings())


async def test_it_is_packed_while_a_sender_writes(old_db: Database) -> None:
    settings = old_db.settings(
        retention=RetentionSettings(internal_days=None, app_days=None),
        storage=StorageSettings(pack=True),
    )
    relations = "internal.sample", "cumsum.sample", "geo.sample"
    before, read = await rows(old_db, *relations), await rows(old_db, *READ)
    await migrate(old_db.url, settings)
    with write_side(old_db) as side:
        sender = Sender(side)
        async with connect(old_db) as connection:
            with sender.at_work():
                for target in ("internal", "cumsum", "geo"):
                    await pack(connection, datetime.now(UTC) - timedelta(hours=1), target)
                assert before <= await rows(old_db, *relations)
                for days in (0, 2):  # rows yet, and packed
                    at = datetime.now(UTC) - timedelta(days)
                    assert await write_as_before(connection, at) == [1, 0]
                await pack(connection, datetime.now(UTC) + timedelta(days=9))
        assert set(sender.statuses) == {204}
        wait_until(lambda: Metrics(side.address).at_rest, what="the spool is empty")
    after = await rows(old_db, *relations)
    assert before <= after
    assert len(after) == len(before) + len(sender.statuses) + 2
    assert read == await rows(old_db, *READ)
    async with connect(old_db) as connection:
        assert await connection.fetchval("SELECT count(*) FROM internal.block") > 0
        assert await connection.fetchval("SELECT count(*) FROM cumsum.block") > 0
