"""The socket server that tests TimescaleDB: as much of PostgreSQL as our own code relies on."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.databases import Database, connect
from tests.support.timescaledb import PgliteServer

START = datetime(2026, 1, 1, tzinfo=UTC)
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
CANCEL_REQUEST = struct.pack("!iiii", 16, 80877102, 1, 2)


@pytest.fixture
def database(empty_timescale_db: Database) -> Database:
    return empty_timescale_db


@asynccontextmanager
async def pool_of(database: Database, size: int) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(
        database.url, min_size=size, max_size=size, statement_cache_size=0
    ) as pool:
        yield pool


async def test_a_pool_shares_the_one_backend(database: Database) -> None:
    async with pool_of(database, 4) as pool:
        await pool.execute("CREATE TABLE t (n int)")

        async def insert(n: int) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("INSERT INTO t VALUES ($1)", n)
                assert await connection.fetchval("SELECT count(*) FROM t WHERE n = $1", n) == 1

        await asyncio.gather(*(insert(n) for n in range(50)))
        assert await pool.fetchval("SELECT sum(n) FROM t") == sum(range(50))


async def test_statements_of_two_connections_do_not_mix(database: Database) -> None:
    async with connect(database) as one, connect(database) as two:

        async def ask(connection: asyncpg.Connection, word: str) -> None:
            for n in range(50):
                answers = await connection.fetch("SELECT $1::text, $2::int", word, n)
                assert [tuple(answer) for answer in answers] == [(word, n)]

        await asyncio.gather(ask(one, "one"), ask(two, "two"))


async def test_others_wait_for_the_end_of_a_transaction(database: Database) -> None:
    async with connect(database) as one, connect(database) as two:
        await one.execute("CREATE TABLE t (n int)")
        transaction = one.transaction()
        await transaction.start()
        await one.execute("INSERT INTO t VALUES (1)")
        count = asyncio.create_task(two.fetchval("SELECT count(*) FROM t"))
        await one.execute("INSERT INTO t VALUES (2)")
        assert not count.done()
        await transaction.commit()
        assert await count == 2


async def test_a_transaction_is_rolled_back(database: Database) -> None:
    async with connect(database) as connection:
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY)")
        with pytest.raises(asyncpg.UniqueViolationError):
            await _insert_twice(connection)
        assert await connection.fetchval("SELECT count(*) FROM t") == 0


async def _insert_twice(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
        await connection.execute("INSERT INTO t VALUES (1)")


async def test_a_savepoint_survives_an_error(database: Database) -> None:
    async with connect(database) as connection, connection.transaction():
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (2)")
        with pytest.raises(asyncpg.UniqueViolationError):
            await _insert_twice(connection)
        assert await connection.fetchval("SELECT count(*) FROM t") == 1


@pytest.mark.parametrize("fails", [False, True], ids=["open", "failed"])
async def test_an_owner_that_vanishes_is_rolled_back(database: Database, fails: bool) -> None:
    owner = await asyncpg.connect(database.url, statement_cache_size=0)
    await owner.execute("CREATE TABLE t (n int)")
    await owner.execute("BEGIN; INSERT INTO t VALUES (1)")
    if fails:
        with pytest.raises(asyncpg.UndefinedTableError):
            await owner.fetchval("SELECT $1::int FROM nowhere", 1)
    owner.terminate()
    async with connect(database) as other:
        assert await other.fetchval("SELECT count(*) FROM t") == 0


async def test_a_query_that_is_waiting_may_vanish(database: Database) -> None:
    async with connect(database) as owner:
        await owner.execute("CREATE TABLE t (n int); BEGIN")
        _, impatient = await _open(database)
        impatient.write(_startup_message())
        await impatient.drain()
        impatient.close()
        await owner.execute("INSERT INTO t VALUES (1); COMMIT")
        assert await owner.fetchval("SELECT n FROM t") == 1


async def test_binary_copy_of_many_rows(database: Database) -> None:
    rows = [(START + timedelta(seconds=n), n, n / 7) for n in range(100_000)]
    async with connect(database) as connection:
        await connection.execute("CREATE TABLE t (time timestamptz, id bigint, value float8)")
        status = await connection.copy_records_to_table("t", records=rows)
        assert status == "COPY 100000"
        stored = await connection.fetch("SELECT * FROM t ORDER BY id")
        assert [tuple(row) for row in stored] == rows


async def test_copies_of_several_connections_at_once(database: Database) -> None:
    async with pool_of(database, 3) as pool:
        await pool.execute("CREATE TABLE t (n int)")

        async def copy(start: int) -> None:
            async with pool.acquire() as connection, connection.transaction():
                rows = [(n,) for n in range(start, start + 1000)]
                await connection.copy_records_to_table("t", records=rows)

        await asyncio.gather(*(copy(start) for start in range(0, 9000, 1000)))
        assert await pool.fetchval("SELECT count(DISTINCT n) FROM t") == 9000


@pytest.mark.parametrize("rows", [[(1,), (1,)], [("no number",)]], ids=["server", "client"])
async def test_an_error_inside_copy_leaves_the_connection_usable(
    database: Database, rows: list[tuple[object]]
) -> None:
    async with connect(database) as connection:
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY)")
        with pytest.raises((asyncpg.UniqueViolationError, TypeError)):
            await connection.copy_records_to_table("t", records=rows)
        await connection.copy_records_to_table("t", records=[(2,)])
        assert await connection.fetchval("SELECT n FROM t") == 2


async def test_copy_into_a_table_that_is_not_there(database: Database) -> None:
    async with connect(database) as connection:
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.copy_records_to_table("nowhere", records=[(1,)], columns=["n"])
        assert await connection.fetchval("SELECT 1") == 1


async def test_an_error_in_a_trigger_is_caught(database: Database) -> None:
    async with connect(database) as connection:
        await connection.execute(
            """
            CREATE TABLE kept (n int PRIMARY KEY);
            CREATE TABLE staging (n int);
            CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              BEGIN
                INSERT INTO kept SELECT n FROM fresh;
              EXCEPTION WHEN unique_violation THEN
                INSERT INTO kept SELECT n FROM fresh ON CONFLICT DO NOTHING;
              END;
              RETURN NULL;
            END $$;
            CREATE TRIGGER move AFTER INSERT ON staging REFERENCING NEW TABLE AS fresh
              FOR EACH STATEMENT EXECUTE FUNCTION move();
            """
        )
        for _ in range(2):
            await connection.copy_records_to_table("staging", records=[(n,) for n in range(5000)])
        assert await connection.fetchval("SELECT count(*) FROM kept") == 5000


async def test_copy_out(database: Database) -> None:
    copied = bytearray()

    async def collect(data: bytes) -> None:
        copied.extend(data)

    async with connect(database) as connection:
        query = "SELECT n FROM generate_series(1, 3) n"
        assert await connection.copy_from_query(query, output=collect) == "COPY 3"
    assert copied == b"1\n2\n3\n"


async def test_an_ssl_request_is_answered_no(database: Database) -> None:
    reader, writer = await _open(database)
    writer.write(SSL_REQUEST)
    assert await reader.readexactly(1) == b"N"
    writer.write(_startup_message())
    assert await reader.readexactly(1) == b"R"
    writer.close()


async def test_a_cancel_request_is_ignored(database: Database) -> None:
    async with connect(database) as connection:
        await connection.execute("BEGIN")
        reader, writer = await _open(database)
        writer.write(CANCEL_REQUEST)
        assert await reader.read() == b""
        writer.close()
        assert await connection.fetchval("SELECT 1") == 1


async def test_hypertable_aggregate_and_job(database: Database) -> None:
    async with connect(database) as connection:
        await connection.execute("CREATE EXTENSION timescaledb")
        await connection.execute(
            "CREATE TABLE t (time timestamptz NOT NULL, value float8);"
            "SELECT create_hypertable('t', by_range('time', INTERVAL '1 day'))"
        )
        await connection.execute(
            "CREATE MATERIALIZED VIEW hourly WITH (timescaledb.continuous,"
            " timescaledb.materialized_only = true) AS"
            " SELECT time_bucket('1 hour', time) AS bucket, sum(value) FROM t GROUP BY 1"
            " WITH NO DATA"
        )
        job = await connection.fetchval(
            "SELECT add_continuous_aggregate_policy('hourly', NULL, NULL, INTERVAL '1 minute')"
        )
        rows = [(START + timedelta(minutes=n), 1.0) for n in range(3 * 24 * 60)]
        await connection.copy_records_to_table("t", records=rows)
        assert await connection.fetchval("SELECT count(*) FROM hourly") == 0
        await connection.execute(f"CALL run_job({job})")
        assert await connection.fetchval("SELECT count(*) FROM hourly") == 3 * 24
        assert await connection.fetchval("SELECT sum(sum) FROM hourly") == len(rows)
        assert await connection.fetchval("SELECT count(*) FROM show_chunks('t')") == 3


@pytest.mark.parametrize("attempt", ["first", "second"])
async def test_each_test_has_a_database_of_its_own(database: Database, attempt: str) -> None:
    async with connect(database) as connection:
        await connection.execute("CREATE TABLE only_mine ()")


async def test_a_dump_holds_what_was_written(pglite_logs: Path, tmp_path: Path) -> None:
    server = PgliteServer(pglite_logs).open()
    async with connect(_database(server)) as connection:
        await connection.execute("CREATE TABLE t AS SELECT 42 AS n")
    dump = server.dump(tmp_path / "data.tar")
    async with connect(_database(server.open(dump))) as connection:
        assert await connection.fetchval("SELECT n FROM t") == 42
    server.stop()


async def test_from_the_same_dump_it_goes_back(empty_pglite: Path, pglite_logs: Path) -> None:
    """Memory, files and settings, whatever was open; nothing of before reaches what comes after."""
    server = PgliteServer(pglite_logs).open(empty_pglite)
    tables: set[int] = set()
    for _ in range(3):
        old = await asyncpg.connect(server.url, statement_cache_size=0)
        queued = await asyncpg.connect(server.url, statement_cache_size=0)
        tables.add(await old.fetchval("SELECT count(*) FROM pg_class"))
        await old.execute(
            "CREATE TABLE t AS SELECT n, repeat('x', 90) FROM generate_series(1, 40000) n"
        )
        await old.execute("DELETE FROM pg_description; SET work_mem = '123MB'; CHECKPOINT")
        await old.execute("BEGIN; CREATE TEMP TABLE mine AS SELECT 1; DECLARE c CURSOR FOR TABLE t")
        waiting = asyncio.create_task(queued.fetchval("SELECT count(*) FROM t"))
        await asyncio.sleep(0)  # it has asked, and waits for the end of the transaction
        async with connect(_database(server.open(empty_pglite))) as next_one:
            assert await next_one.fetchval("SELECT to_regclass('t')") is None
            assert await next_one.fetchval("SHOW work_mem") == "4MB"
            assert await next_one.fetchval("SELECT count(*) FROM pg_description") > 4000
            async with next_one.transaction():
                await next_one.execute("CREATE TABLE t (n int)")
                with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
                    await old.execute("ROLLBACK")
                with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
                    await waiting
            assert await next_one.fetchval("SELECT count(*) FROM t") == 0
        server.open(empty_pglite)
    assert len(tables) == 1
    server.stop()


async def test_the_next_database_ends_all_connections(pglite_logs: Path) -> None:
    server = PgliteServer(pglite_logs).open()
    old_url = server.url
    connection = await asyncpg.connect(old_url, statement_cache_size=0)
    await connection.execute("BEGIN; CREATE TABLE t ()")
    async with connect(_database(server.open())) as other:
        assert await other.fetchval("SELECT to_regclass('t')") is None
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await connection.fetchval("SELECT 1")
    with pytest.raises(OSError):
        await asyncpg.connect(old_url, statement_cache_size=0)
    server.stop()


def test_it_listens_on_loopback_and_ends_with_its_input(pglite_logs: Path) -> None:
    server = PgliteServer(pglite_logs).open()
    assert urlsplit(server.url).hostname == "127.0.0.1"
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.process.wait(10) == 0
    server.stop()


async def _open(database: Database) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(database.url)
    return await asyncio.open_connection(address.hostname, address.port)


def _startup_message() -> bytes:
    body = struct.pack("!i", 196608) + b"user\0postgres\0database\0template1\0\0"
    return struct.pack("!i", len(body) + 4) + body


def _database(server: PgliteServer) -> Database:
    return Database(server.url, "timescaledb", one_session=True)
