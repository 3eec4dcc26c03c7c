"""Roles belong to the whole cluster: other databases may be migrated at the same moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from ingest.migrate.scram import scram_verifier
from ingest.storage.pool import AnyConnection, writing

ATTEMPTS = 20
RACES = (
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateObjectError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InternalServerError,  # two alter one row of a catalogue: PostgreSQL has no better code
)
"""What a step meets beside another one. A defect of the server shares a code with them: it is met
again, and the last attempt tells."""

T = TypeVar("T")


async def retry_role_races(step: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction that creates or alters roles; again, when another one did the same.

    Args:
        step: one whole transaction, safe to repeat.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await step()
        except RACES:
            continue  # the other transaction has committed: its roles are there now
    return await step()


async def set_password(connection: AnyConnection, login: str, password: str) -> None:
    """Give a login of ours its password; what the server sees and may log is a verifier.

    Raises:
        asyncpg.InsufficientPrivilegeError: the user may not alter that role.
    """
    verifier = scram_verifier(password)  # base64 and punctuation, no quote in it
    async with writing(connection):
        await connection.execute(f"ALTER ROLE {login} PASSWORD '{verifier}'")
