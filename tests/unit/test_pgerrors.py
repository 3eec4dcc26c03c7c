"""What an error of the database means for the rows that met it, and for the request."""

from __future__ import annotations

import asyncpg
import pytest

from ingest.storage.database import unavailable
from ingest.storage.pgerrors import Verdict, verdict_of

HUNG_UP = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


def test_what_is_too_large_for_postgresql_is_rejected() -> None:
    """An index row, jsonb or the stack: no later try would be another one."""
    for error in (asyncpg.ProgramLimitExceededError(""), asyncpg.StatementTooComplexError("")):
        assert verdict_of(error) is Verdict.REJECT


@pytest.mark.parametrize(
    "error",
    [
        HUNG_UP,
        ConnectionResetError(),
        BrokenPipeError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.OutOfMemoryError(""),
        MemoryError(),
        RuntimeError("a defect of ours"),
    ],
)
def test_a_request_may_itself_be_why(error: Exception) -> None:
    assert verdict_of(error) is Verdict.UNAVAILABLE
    assert unavailable(error).blames_request


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        OSError(),
        asyncpg.CannotConnectNowError(""),
        asyncpg.AdminShutdownError(""),
        asyncpg.DiskFullError(""),
        asyncpg.ReadOnlySQLTransactionError(""),
        asyncpg.QueryCanceledError(""),
    ],
)
def test_a_database_that_is_away_or_unwell_is_no_request_s_fault(error: Exception) -> None:
    assert verdict_of(error) is Verdict.UNAVAILABLE
    assert not unavailable(error).blames_request
