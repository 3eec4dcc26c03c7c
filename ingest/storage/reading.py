"""What a reader needs of a connection: answers in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    pass


class Batch(NamedTuple):
    """Some rows of an answer, and what to ask for the next ones with: None after the last."""

    rows: Sequence[Any]
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
