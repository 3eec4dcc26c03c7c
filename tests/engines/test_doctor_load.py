"""The doctor on settings of the server, and on what others do there. What a whole server has to be
changed for happens on a server of this file's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
import pytest_asyncio

from ingest.doctor import Level
from ingest.migrate import migrate
from ingest.storage.read import all_connections
from tests.support import postgres
from tests.support.databases import Database, blocking, connect, execute
from tests.support.doctoring import diagnose, heals, statements, take, until_ok
from tests.support.postgres import start_cluster

AT_ONCE = {"transaction_warning": 0.0}


@pytest.fixture(scope="module")
def own_server() -> Iterator[Database]:
    """A migrated database on a server whose settings are as a user's, and this file's to break."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "full_page_writes", "wal_level", "max_wal_senders"):
            patch.delitem(postgres.UNSAFE_BUT_QUICK, name)
        patch.setitem(postgres.UNSAFE_BUT_QUICK, "max_prepared_transactions", "5")
        cluster = start_cluster()
    database = Database(cluster.url("postgres"), "postgres")
    blocking(migrate(database.url, database.settings()))
    yield database
    cluster.stop()


@pytest_asyncio.fixture
async def other(postgres_db: Database) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection to `postgres_db`."""
    async with connect(postgres_db) as connection:
        yield connection


async def test_an_ordinary_server_has_neither_problem_nor_warning(own_server: Database) -> None:
    found = await diagnose(own_server)
    assert (found.bad(), found.bad(Level.WARNING)) == ({}, {})


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_crash_would_lose_data(own_server: Database, setting: str) -> None:
    await execute(own_server.url, f"ALTER SYSTEM SET {setting} = off", "SELECT pg_reload_conf()")
    await until_bad(own_server, "durability")
    found = (await diagnose(own_server)).only("durability")
    assert found.level == Level.PROBLEM
    assert found.what.startswith(f"{setting} is off: a crash")
    await heals(own_server, "durability")


async def test_the_servers_command_line_says_so(postgres_db: Database) -> None:
    found = (await diagnose(postgres_db)).of("durability")
    assert [each.todo for each in found] == [
        "take fsync off the server's command line, then restart it",
        "take full_page_writes off the server's command line, then restart it",
    ]


@pytest.mark.parametrize(
    ("harm", "who"),
    [
        ("ALTER SYSTEM SET", "the server"),
        ("ALTER DATABASE postgres SET", "database postgres"),
        ("ALTER ROLE postgres SET", "role postgres"),
        ("ALTER ROLE ALL SET", "every role"),
        ("ALTER ROLE promgres_owner IN DATABASE postgres SET", "role promgres_owner"),
    ],
)
async def test_commits_are_not_waited_for(own_server: Database, harm: str, who: str) -> None:
    """Ours are all the same: each transaction turns it on."""
    await execute(own_server.url, f"{harm} synchronous_commit = off", "SELECT pg_reload_conf()")
    await until_bad(own_server, "durability")
    found = (await diagnose(own_server)).only("durability")
    assert found.level == Level.WARNING
    assert found.what.startswith(f"{who} turns synchronous_commit off")
    await heals(own_server, "durability")


async def test_roles_that_write_nothing_may_do_as_they_like(own_server: Database) -> None:
    await execute(own_server.url, "ALTER ROLE promgres_api SET synchronous_commit = off")
    assert (await diagnose(own_server)).level("durability") == Level.OK


@pytest.mark.parametrize("setting", ["autovacuum", "track_counts"])
async def test_nothing_is_vacuumed(own_server: Database, setting: str) -> None:
    await execute(own_server.url, f"ALTER SYSTEM SET {setting} = off", "SELECT pg_reload_conf()")
    await until_bad(own_server, "vacuum")
    found = (await diagnose(own_server)).only("vacuum")
    assert (found.level, found.what) == (
        Level.PROBLEM,
        f"{setting} is off: tables only grow",
    )
    await heals(own_server, "vacuum")


async def test_a_table_is_not_vacuumed(engine_db: Database) -> None:
    await execute(engine_db.url, "ALTER TABLE internal.series SET (autovacuum_enabled = false)")
    assert (await diagnose(engine_db)).bad(Level.WARNING) == {
        "vacuum": "autovacuum leaves internal.series alone"
    }
    await heals(engine_db, "vacuum")


async def test_transaction_ids_run_out(own_server: Database) -> None:
    await execute(own_server.url, "SELECT pg_current_xact_id()", "SELECT pg_current_xact_id()")
    limits = {"transaction_ids_warning": 1}
    worse = (await diagnose(own_server, **limits, transaction_ids_problem=1)).only("vacuum")
    assert worse.level == Level.PROBLEM
    assert "2.1 billion" in worse.what
    assert (await diagnose(own_server, **limits)).level("vacuum") == Level.WARNING
    await heals(own_server, "vacuum", **limits)


async def test_a_transaction_stays_open(postgres_db: Database, other: asyncpg.Connection) -> None:
    assert (await diagnose(postgres_db, **AT_ONCE)).level("transactions") == Level.OK
    await other.execute("SET application_name = 'lunch'")
    await other.execute("BEGIN")
    await other.execute("SELECT 1")
    assert (await diagnose(postgres_db)).level("transactions") == Level.OK, "not for long"
    found = (await diagnose(postgres_db, **AT_ONCE)).only("transactions")
    assert found.level == Level.WARNING
    assert "(lunch) is idle in transaction" in found.what
    long = (await diagnose(postgres_db, **AT_ONCE, transaction_problem=0.0)).only("transactions")
    assert long.level == Level.PROBLEM
    await take(postgres_db, found)
    await until_ok(postgres_db, "transactions", **AT_ONCE)


async def test_a_prepared_transaction_was_forgotten(own_server: Database) -> None:
    await execute(own_server.url, "BEGIN", "CREATE TABLE x (a int)", "PREPARE TRANSACTION 'it''s'")
    found = (await diagnose(own_server, **AT_ONCE)).only("transactions")
    assert found.what.startswith("prepared transaction it's is prepared")
    await heals(own_server, "transactions", **AT_ONCE)


async def test_a_replication_slot_keeps_wal(own_server: Database) -> None:
    await execute(own_server.url, "SELECT pg_create_physical_replication_slot('gone', true)")
    assert (await diagnose(own_server)).level("transactions") == Level.OK
    found = (await diagnose(own_server, slot_bytes=-1)).only("transactions")
    assert found.what.startswith("replication slot gone, which keeps")
    await heals(own_server, "transactions", slot_bytes=-1)


async def test_connections_run_out(postgres_db: Database) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(connect(postgres_db))
        few = await diagnose(postgres_db, connections_warning=0.1)
        assert few.level("connections") == Level.WARNING
        none = await diagnose(postgres_db, connections_warning=0.1, connections_problem=0.1)
        found = none.only("connections")
        assert found.level == Level.PROBLEM
        read_side = all_connections(4) + 2
        assert f"of 197 in use; ours need 6 and {read_side}" in found.what
        assert statements(found.todo) == ["ALTER SYSTEM SET max_connections = 394"]


async def until_bad(database: Database, check: str) -> None:
    """Wait for a reloaded setting to reach new sessions."""
    for _ in range(100):
        if (await diagnose(database)).of(check)[0].level != Level.OK:
            return
    raise AssertionError(f"{check} stays ok")
