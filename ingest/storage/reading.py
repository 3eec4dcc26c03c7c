"""What a reader needs of a connection: answers in batches, and a backend that makes way for
ingestion."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncpg

QUICK_NICENESS, DEAR_NICENESS = 5, 10
"""Of backends that answer questions: they get a third and a tenth of what one that writes gets."""


class Batch(NamedTuple):
    """Some rows of an answer, and what to ask for the next ones with: None after the last."""

    rows: Sequence[asyncpg.Record]
    more: Any


async def first_batch(connection: Any, sql: str, parameters: Sequence[Any], rows: int) -> Batch:
    """Execute a statement, in a transaction, as far as its first rows.

    asyncpg's cursors cost a round trip or two for each answer however short it is. Here the first
    rows come with the statement, and the others wait in the portal of the transaction.

    Args:
        connection: of asyncpg, or its place in a pool.

    Raises:
        asyncpg.PostgresError: what the database said.
    """

    async def execute(statement: Any, seconds: float | None) -> Any:
        return await connection._protocol.bind_execute(
            statement, parameters, "", rows, True, seconds
        )

    (found, _, is_complete), statement = await connection._do_execute(sql, execute, None)
    return Batch(found, None if is_complete else statement)


async def next_batch(connection: Any, more: Any, rows: int) -> Batch:
    """The next rows of the statement that was executed last."""
    found, _, is_complete = await connection._protocol.execute(more, "", rows, True, None)
    return Batch(found, None if is_complete else more)


def make_nicer(connection: Any, niceness: int) -> None:
    """Give the backend of a connection less of the processors, where it is a process of this
    machine that we may touch: embedded PostgreSQL, run by the same user."""
    backend = connection.get_server_pid()
    if not isinstance(connection._addr, str):  # TCP: its process may be anywhere
        return
    try:
        if Path(f"/proc/{backend}/cmdline").read_bytes().startswith(b"postgres:"):
            os.setpriority(os.PRIO_PROCESS, backend, niceness)
    except OSError:  # another system, another container, another user
        return
