"""What a sender is told of an error of the database."""

from __future__ import annotations

from asyncpg.exceptions import PostgresError

from ingest.storage.database import unavailable


def test_it_quotes_no_row() -> None:
    """Rows of several tenants are written in one transaction, and fail in one."""
    said = {"S": "ERROR", "C": "XX001", "M": "cannot store 727272", "D": "Failing row: (bravo)"}
    error = PostgresError.new(said)
    assert "bravo" in str(error)
    assert str(unavailable(error)) == "the database refuses it now (SQLSTATE XX001)"


def test_a_database_that_is_away() -> None:
    assert str(unavailable(ConnectionRefusedError("10.0.0.5:5432"))) == (
        "the database is not reachable"
    )
