"""What an error of the database means for the rows that met it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

import asyncpg

from ingest.errors import DatabaseUnreachable, OperatorError
from ingest.text import on_one_line


class Verdict(Enum):
    """What to do with the batch."""

    RETRY = "retry"
    """Nothing is wrong with the rows: the same batch may succeed at once."""
    UNAVAILABLE = "unavailable"
    """The database is away or unwell: the sender must try again later."""
    REJECT = "reject"
    """At least one row can never be stored: find it."""


RETRIED = {"40001": "serialization failure", "40P01": "deadlock", "55P03": "lock not available"}
"""What may succeed at once, by SQLSTATE, as the metric of retries calls it."""
PARTITION_GONE = "partition gone"
REJECT_CLASSES = frozenset(
    {
        "22",  # data exception
        "23",  # integrity constraint violation
        "54",  # program limit exceeded: too large for an index, for jsonb, too deep for the stack
    }
)

OUT_OF_MEMORY = "53200"

LOST = (
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionResetError,
    BrokenPipeError,
)
"""The server hung up on a statement, or asyncpg lost count of what it waits for."""

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when there is no server, or no longer one, at the other end."""

NOT_MIGRATED = (
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedTableError,
)
"""What a database says that was migrated by an older version, or by none."""

QUERY_CANCELED = "57014"
"""The SQLSTATE of what was ended by its time, or on request."""


@contextmanager
def translated(
    refused: Callable[[asyncpg.PostgresError], Exception],
    gone: Callable[[BaseException], Exception],
) -> Iterator[None]:
    """Errors of the driver become errors of ours.

    Args:
        refused: what the server answered, in the words of this caller.
        gone: there is no server, or no longer one, at the other end.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise refused(error) from error
    except CONNECTION_ERRORS as error:
        raise gone(error) from error


def verdict_of(error: BaseException) -> Verdict:
    """Judge an error by its SQLSTATE (PostgreSQL manual, appendix A). An unknown one never rejects.

    A row without a partition is reported as a check violation too; nothing is wrong with the row.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return Verdict.UNAVAILABLE
    sqlstate = error.sqlstate or ""
    if why_retried(error) is not None:
        return Verdict.RETRY
    if sqlstate[:2] in REJECT_CLASSES:
        return Verdict.REJECT
    return Verdict.UNAVAILABLE


def why_retried(error: BaseException) -> str | None:
    """In two words, why the same batch may succeed at once; None if it would not."""
    if is_missing_partition(error):
        return PARTITION_GONE
    sqlstate = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
    return RETRIED.get(sqlstate or "")


def blames_request(error: BaseException) -> bool:
    """Whether what was asked may be why, and not that the database is away: a server that cannot
    work on a message, or has no memory for it, closes the connection, and the next one is fine.

    The caller looks whether the database answers others: a server that was killed hangs up as well.
    """
    if isinstance(error, LOST):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate == OUT_OF_MEMORY
    return not isinstance(error, CONNECTION_ERRORS)  # a defect of ours, at this request


def is_missing_partition(error: BaseException) -> bool:
    """Whether rows met no partition: one was dropped behind our back.

    Told by fields alone: a message is in the language of the server. A constraint that is broken
    has a name; a table that has no partition for a row is named without one.
    """
    return (
        isinstance(error, asyncpg.CheckViolationError)
        and not error.constraint_name
        and bool(error.table_name)
    )


POOLER = (
    "a pooler mixes the sessions of its clients: set database.statement_cache_size = 0"
    " (PROMGRES_DATABASE__STATEMENT_CACHE_SIZE=0)"
)
TODO_OF_SQLSTATE = {
    "25006": "it is a standby or read-only (default_transaction_read_only): give the primary's"
    " address, or make room and turn that off",
    "25P03": "idle_in_transaction_session_timeout is too short here: ALTER ROLE … SET it to 0",
    "25P04": "transaction_timeout is too short here: ALTER ROLE … SET it to 0",
    "26000": POOLER,
    "42P05": POOLER,
    "3F000": "is it migrated? promgres migrate",
    "42P01": "is it migrated to this version? promgres migrate",
    "42883": "is it migrated to this version? promgres migrate",
    "42501": "connect as the database's owner, or as a member of promgres_owner",
    "53300": "out of connections: see max_connections, and database.pool_size",
    "57014": "statement_timeout is too short here: ALTER ROLE … SET it to 0, or ALTER DATABASE",
}
"""What an operator can do, by what the database says."""

PASSING_CLASSES = frozenset({"08", "40", "53", "57"})
"""Classes of errors after which the same may go well: it starts, stops, or has no room."""


def operator_error(error: BaseException) -> OperatorError:
    """An error of the database that ends a command, in one line with what to do about it."""
    sqlstate = getattr(error, "sqlstate", None) or ""
    said = on_one_line(error)
    todo = TODO_OF_SQLSTATE.get(sqlstate)
    hint = f"; {todo}" if todo else ""
    return OperatorError(f"the database refuses: {said} (SQLSTATE {sqlstate}){hint}")


def went_away(error: BaseException) -> DatabaseUnreachable:
    """An error that ends a command because there is no server any more."""
    what = on_one_line(error)
    return DatabaseUnreachable(f"the database went away: {what}")


def is_of_database(error: BaseException) -> bool:
    """Whether it is the driver that raised it."""
    return isinstance(
        error, asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError
    )


def may_pass(error: BaseException) -> bool:
    """Whether the same command may go well if it is only started again."""
    sqlstate = getattr(error, "sqlstate", None) or "08"
    return sqlstate[:2] in PASSING_CLASSES and sqlstate != QUERY_CANCELED
