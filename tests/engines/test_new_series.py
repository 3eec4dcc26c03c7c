"""Ids for series: those that exist are found, the others are copied in, whoever else does so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from ingest.model import Series, TenantId
from ingest.series.identity import identity_of
from ingest.storage import database as storage
from ingest.storage.pool import create_pool
from tests.support.databases import Database, connect, execute

ODD = 'a "quoted" \\ text,\n\ttwo lines \x01 é 温度 \U0001f600'
FUNCTIONS_ONLY = "promgres_test_functions_only"


def series_of(*numbers: int, name: str = "up", target: str = "internal") -> list[Series]:
    """Series that differ by one label."""
    made = []
    for number in numbers:
        labels = (("__name__", name.upper()), ("odd", ODD), ("series", str(number)))
        identity = identity_of(TenantId(1), target, "common", labels)
        made.append(Series(identity, TenantId(1), target, "common", name, labels))
    return made


@asynccontextmanager
async def daemon_of(database: Database, url: str | None = None) -> AsyncIterator[storage.Database]:
    """What a daemon asks of the database with."""
    pool = await create_pool(url or database.url, database.settings().database, "test")
    try:
        yield storage.Database(pool)
    finally:
        pool.terminate()


async def stored(database: Database, series: Sequence[Series]) -> dict[bytes, int]:
    """Ids by identity, each row compared with what it should be."""
    ids = {}
    async with connect(database) as connection:
        for one in series:
            row = await connection.fetchrow(
                "SELECT s.*, m.tenant_id AS metric_tenant, m.target AS metric_target,"
                " m.schema AS metric_schema, m.name AS metric_name"
                " FROM internal.series s JOIN internal.metric m USING (metric_id)"
                " WHERE identity = $1",
                one.identity,
            )
            assert row is not None
            metric = (one.tenant_id, one.target, one.schema, one.name)
            for prefix in ("", "metric_"):
                where = [row[f"{prefix}{what}"] for what in ("target", "schema", "name")]
                tenant = row["metric_tenant" if prefix else "tenant_id"]
                assert (tenant, *where) == metric
            assert json.loads(row["labels"]) == dict(one.labels)
            assert row["created_at"] is not None
            ids[one.identity] = row["series_id"]
    return ids


async def test_they_are_created_once_and_found_from_then_on(engine_db: Database) -> None:
    first = series_of(*range(20)) + series_of(1, 2, name="other", target="cumsum")
    more = series_of(*range(10, 30)) + series_of(2, 3, name="other", target="cumsum")
    async with daemon_of(engine_db) as daemon:
        ids = await daemon.resolve_series(first + first[:3])
        assert ids == await stored(engine_db, first)
        both = ids | await daemon.resolve_series(more)
        assert both == await stored(engine_db, first + more)
        assert {identity: both[identity] for identity in ids} == ids
        assert await daemon.resolve_series(more) == await stored(engine_db, more)
    assert len(set(both.values())) == len(both) == 33


async def test_what_the_database_creates_itself_is_the_same(engine_db: Database) -> None:
    """The function that others call, and that stands in where COPY is refused."""
    wanted = series_of(*range(5))
    async with daemon_of(engine_db) as daemon:
        [(few, labels)] = storage._messages(wanted)
        ids = await daemon._resolve(few, labels)
        assert ids == await stored(engine_db, wanted) == await daemon.resolve_series(wanted)


async def test_daemons_that_create_the_same_at_once_agree(engine_db: Database) -> None:
    wanted = [
        series_of(*range(first, first + 60), name=f"m{first % 3}") for first in range(0, 50, 5)
    ]
    wanted += [list(reversed(some)) for some in wanted]
    async with daemon_of(engine_db) as one, daemon_of(engine_db) as other:
        found = await asyncio.gather(
            *[(one if turn % 2 else other).resolve_series(some) for turn, some in enumerate(wanted)]
        )
    ids: dict[bytes, int] = {}
    for some, answer in zip(wanted, found, strict=True):
        assert answer.keys() == {each.identity for each in some}
        assert ids | answer == answer | ids
        ids |= answer
    everything = {each.identity: each for some in wanted for each in some}
    assert ids == await stored(engine_db, list(everything.values()))


async def until_one_waits(database: Database) -> None:
    """Until somebody waits for a lock, or for a transaction to end."""
    async with connect(database) as watcher, asyncio.timeout(60):
        while not await watcher.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await watcher.execute("SELECT pg_sleep(0.05)")


async def test_one_that_somebody_is_creating_is_waited_for(postgres_db: Database) -> None:
    """Its unique key is there when ours comes: nothing of ours is stored twice or lost."""
    wanted = series_of(*range(8))
    [(few, labels)] = storage._messages(wanted[3:5])
    async with connect(postgres_db) as other, daemon_of(postgres_db) as daemon:
        creating = other.transaction()
        await creating.start()
        theirs = await other.fetch(
            "SELECT * FROM internal.resolve_series($1, $2, $3, $4, $5, $6)",
            *zip(*[(*each[:3], each.name, each.schema) for each in few], strict=True),
            labels,
        )
        asking = asyncio.create_task(daemon.resolve_series(wanted))
        await until_one_waits(postgres_db)
        assert not asking.done()
        await creating.commit()
        ids = await asking
    assert ids == await stored(postgres_db, wanted)
    assert {row["identity"]: row["series_id"] for row in theirs}.items() <= ids.items()


async def test_a_login_that_may_call_functions_only(postgres_db: Database) -> None:
    await execute(
        postgres_db.url,
        f"DROP ROLE IF EXISTS {FUNCTIONS_ONLY}",
        f"CREATE ROLE {FUNCTIONS_ONLY} LOGIN",
        f"GRANT USAGE ON SCHEMA internal TO {FUNCTIONS_ONLY}",
        "GRANT EXECUTE ON FUNCTION internal.resolve_series, internal.reserve_series"
        f" TO {FUNCTIONS_ONLY}",
    )
    wanted = series_of(*range(5))
    url = postgres_db.url.replace("//postgres@", f"//{FUNCTIONS_ONLY}@")
    assert FUNCTIONS_ONLY in url
    try:
        async with daemon_of(postgres_db, url) as daemon:
            assert await daemon.resolve_series(wanted) == await stored(postgres_db, wanted)
    finally:
        await execute(
            postgres_db.url, f"DROP OWNED BY {FUNCTIONS_ONLY}", f"DROP ROLE {FUNCTIONS_ONLY}"
        )


@pytest.mark.parametrize("at_once", [1, 3])
async def test_many_are_created_some_at_a_time(
    engine_db: Database, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(storage, "RESOLVE_AT_ONCE", 7)
    wanted = series_of(*range(20))
    async with daemon_of(engine_db) as daemon:
        assert await daemon.resolve_series(wanted) == await stored(engine_db, wanted)
