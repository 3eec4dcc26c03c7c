"""A question in one message: what comes back, what stays behind, what happens when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from ingest.storage.one_trip import (
    OneTrip,
    Parameter,
    TripConnection,
    column_formats,
    executed,
    setting,
    text_array,
)
from ingest.storage.read import _BEGIN, _COMMIT
from tests.support.databases import Database

ONE_TEXT = column_formats(False)


class ByteByByte(OneTrip):
    """As if the network brought every byte by itself."""

    def data_received(self, data: bytes) -> None:
        for place in range(len(data)):
            super().data_received(data[place : place + 1])


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[TripConnection]:
    connection = await asyncpg.connect(database.url, connection_class=TripConnection)
    try:
        yield connection
    finally:
        await connection.close()


async def ask(
    connection: TripConnection, sql: str, *parameters: Parameter, before: bytes = _BEGIN
) -> bytes | None:
    """The only column of the only row, as text."""
    assert connection.trip is not None
    [found] = await connection.trip.ask(before, sql, parameters, ONE_TEXT, _COMMIT)
    return found


async def test_values_of_every_kind_go_and_come_back(postgres_db: Database) -> None:
    async with connected(postgres_db) as connection:
        for sql, value, expected in (
            ("SELECT $1::text", 'o\'n\\e "é"', 'o\'n\\e "é"'.encode()),
            ("SELECT $1::text", None, None),
            ("SELECT $1::bigint + 1", 41, b"42"),
            ("SELECT encode($1::bytea, 'hex')", b"\x00\xff", b"00ff"),
            ("SELECT cardinality($1::text[])", [], b"0"),
            (
                "SELECT array_to_string($1::text[], '|')",
                ['a"b', "c\\d", "", "NULL"],
                b'a"b|c\\d||NULL',
            ),
        ):
            assert await ask(connection, sql, value) == expected


async def test_an_answer_is_the_same_however_it_is_cut(postgres_db: Database) -> None:
    """With notices, settings that are reported, and what ends an exchange within the row."""
    async with connected(postgres_db) as connection:
        trip = ByteByByte(connection, 10)
        before = (
            executed("BEGIN", "DO $$ BEGIN RAISE NOTICE 'Z'; END $$")
            + setting(b"{TimeZone,application_name}", text_array(["Asia/Tokyo", "Z\x05I"]))
        )  # fmt: skip
        sql = "SELECT repeat($1::text, 1000) || current_setting('TimeZone')"
        ready = "Z\x01\x01\x01\x05I"
        [found] = await trip.ask(before, sql, [ready], ONE_TEXT, _COMMIT)
        assert found == ready.encode() * 1000 + b"Asia/Tokyo"
        assert await connection.fetchval("SHOW TimeZone") != "Asia/Tokyo"


async def test_a_large_answer_comes_whole(postgres_db: Database) -> None:
    async with connected(postgres_db) as connection:
        assert await ask(connection, "SELECT repeat('x', 4000000)") == b"x" * 4_000_000


async def test_an_error_leaves_the_transaction_to_be_rolled_back(postgres_db: Database) -> None:
    async with connected(postgres_db) as connection:
        with pytest.raises(asyncpg.DivisionByZeroError, match="division by zero") as caught:
            await ask(connection, "SELECT 1 / $1::int", 0)
        assert caught.value.sqlstate == "22012"
        await connection.execute("ROLLBACK")
        assert await ask(connection, "SELECT 1 / $1::int", 1) == b"1"
        assert await connection.fetchval("SELECT 5") == 5


async def test_a_question_is_not_asked_if_who_asks_cannot_be_set(postgres_db: Database) -> None:
    """Not even one that would be remembered: the server skips all behind the error."""
    async with connected(postgres_db) as connection:
        await connection.execute("CREATE SEQUENCE asked")
        before = executed("BEGIN") + setting(b"{role}", b"{nobody}")
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await ask(connection, "SELECT nextval('asked')", before=before)
        await connection.execute("ROLLBACK")
        assert await connection.fetchval("SELECT is_called FROM asked") is False


@pytest.mark.parametrize("statement", ["DEALLOCATE ALL", "DEALLOCATE promgres_1"])
async def test_what_a_session_forgot_is_prepared_again(
    postgres_db: Database, statement: str
) -> None:
    """And nothing that was prepared in its place is taken for it."""
    async with connected(postgres_db) as connection:
        assert await ask(connection, "SELECT 'ours'") == b"ours"
        await connection.execute(statement)
        with pytest.raises(asyncpg.InvalidSQLStatementNameError):
            await ask(connection, "SELECT 'ours'")
        await connection.execute("ROLLBACK")
        await connection.execute("PREPARE promgres_2 AS SELECT 'theirs'")
        with pytest.raises(asyncpg.DuplicatePreparedStatementError):
            await ask(connection, "SELECT 'ours'")
        await connection.execute("ROLLBACK")
        assert await ask(connection, "SELECT 'ours'") == b"ours"


async def test_no_more_statements_are_kept_than_wanted(postgres_db: Database) -> None:
    """Those that failed are not kept, either."""
    async with connected(postgres_db) as connection:
        trip = OneTrip(connection, 3)
        for number in range(10):
            await trip.ask(_BEGIN, f"SELECT {number}", (), ONE_TEXT, _COMMIT)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await trip.ask(_BEGIN, f"SELECT {number} / 0", (), ONE_TEXT, _COMMIT)
            await connection.execute("ROLLBACK")
        await trip.ask(_BEGIN, "SELECT 0", (), ONE_TEXT, _COMMIT)
        kept = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'promgres%'"
        assert await connection.fetchval(kept) <= 4


async def test_what_nobody_waits_for_is_ended(postgres_db: Database) -> None:
    async with connected(postgres_db) as connection:
        asking = asyncio.create_task(ask(connection, "SELECT pg_sleep(600)::text"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert connection.trip is not None
        await connection.trip.abandon()
        await connection.execute("ROLLBACK")
        assert await ask(connection, "SELECT 'next'") == b"next"


async def test_a_server_that_ends_ends_the_question(postgres_db: Database) -> None:
    async with connected(postgres_db) as connection, connected(postgres_db) as other:
        asking = asyncio.create_task(ask(connection, "SELECT pg_sleep(600)::text"))
        await asyncio.sleep(0)
        await other.execute("SELECT pg_terminate_backend($1::int)", connection.get_server_pid())
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await asking
        assert connection.is_closed()
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await ask(connection, "SELECT 1")
