"""What an operator asks of a database about tenants, API keys, readers and the audit record.

The functions of schema `app` answer (docs/how-to/tenants.md): the rules are theirs, and the
records.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from ingest.config import DatabaseSettings
from ingest.errors import OperatorError
from ingest.model import TenantId
from ingest.storage.pgerrors import (
    NOT_MIGRATED,
    TODO_OF_SQLSTATE,
    operator_error,
    translated,
    went_away,
)
from ingest.storage.pool import Pool, create_pool, writing
from ingest.text import on_one_line

Row = dict[str, Any]


@dataclass(frozen=True)
class NewKey:
    """A key that was just made.

    Attributes:
        key_id: its id, which is no secret.
        key: the key itself: shown once, and never in a log.
    """

    key_id: str
    key: str = field(repr=False)


class Administration:
    """Each method is one statement, and so one transaction.

    Raises, all of them:
        OperatorError: what the database says against it, in one line.
        DatabaseUnreachable: it answers no longer.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create_tenant(self, name: str) -> int:
        """A new tenant; its id."""
        (row,) = await self._ask("SELECT app.create_tenant($1) AS tenant_id", name)
        tenant_id: TenantId = row["tenant_id"]
        return tenant_id

    async def tenants(self) -> list[Row]:
        """tenant_id, name, created_at, limits, keys (how many are good), last_used_at."""
        return await self._ask("SELECT * FROM app.list_tenants()")

    async def change_limits(self, tenant: str, changes: Mapping[str, float | None]) -> Row:
        """Set some limits of a tenant, or leave them to the settings (None); all it has now."""
        (row,) = await self._ask(
            "SELECT app.change_tenant_limits($1, $2) AS limits", tenant, json.dumps(changes)
        )
        limits: Row = row["limits"]
        return limits

    async def create_key(
        self, tenant: str, scopes: Sequence[str], name: str, expires_at: datetime | None
    ) -> NewKey:
        """A new key of a tenant; `expires_at` None is never."""
        (row,) = await self._ask(
            "SELECT * FROM app.create_key($1, $2, $3, $4)", tenant, list(scopes), name, expires_at
        )
        return NewKey(**row)

    async def rotate_key(self, key_id: str, overlap: timedelta) -> NewKey:
        """A key in the place of another, which is good for the overlap and no longer."""
        (row,) = await self._ask("SELECT * FROM app.rotate_key($1, $2)", key_id, overlap)
        return NewKey(**row)

    async def revoke_key(self, key_id: str) -> bool:
        """End a key for ever; False if it was revoked before."""
        (row,) = await self._ask("SELECT app.revoke_key($1) AS is_new", key_id)
        return bool(row["is_new"])

    async def expire_key(self, key_id: str, at: datetime | None) -> None:
        """Say when a key ends; None is never."""
        await self._ask("SELECT app.expire_key($1, $2)", key_id, at)

    async def keys(self, tenant: str | None) -> list[Row]:
        """Keys of a tenant or of all, without salt and hash: see `app.list_keys`."""
        return await self._ask("SELECT * FROM app.list_keys($1)", tenant)

    async def create_reader(self, tenant: str, login: str, verifier: str) -> None:
        """A login that reads a tenant's data with SQL; `verifier` is of its password."""
        await self._ask("SELECT app.create_reader($1, $2, $3)", tenant, login, verifier)

    async def drop_reader(self, login: str) -> None:
        """End such a login."""
        await self._ask("SELECT app.drop_reader($1)", login)

    async def readers(self) -> list[Row]:
        """login, tenant, created_at, can_login."""
        return await self._ask("SELECT * FROM app.list_readers()")

    async def audit(self, limit: int, tenant: str | None, action: str | None) -> list[Row]:
        """The newest rows of the audit record, newest first: see `app.list_audit`."""
        return await self._ask("SELECT * FROM app.list_audit($1, $2, $3)", limit, tenant, action)

    async def _ask(self, query: str, *arguments: object) -> list[Row]:
        with translated(_for_the_operator, went_away):
            async with self._pool.acquire() as connection, writing(connection):
                await connection.set_type_codec(
                    "jsonb", schema="pg_catalog", encoder=str, decoder=json.loads
                )
                return [dict(row) for row in await connection.fetch(query, *arguments)]


@asynccontextmanager
async def administer(url: str, settings: DatabaseSettings) -> AsyncIterator[Administration]:
    """The owner's database, through one connection.

    Raises:
        DatabaseUnreachable: no server, no such database, or a login that it refuses.
    """
    one = settings.model_copy(update={"pool_size": 1})
    pool = await create_pool(url, one, "promgres administration")
    try:
        yield Administration(pool)
    finally:
        await pool.close()


def _for_the_operator(error: asyncpg.PostgresError) -> OperatorError:
    if type(error) is asyncpg.DataError:  # the driver's own, before it sends anything
        return OperatorError("an argument is not valid UTF-8")
    if isinstance(error, NOT_MIGRATED):
        return OperatorError("the database is not migrated to this version: promgres migrate up")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return OperatorError(
            f"the user of the database URL may not do this ({on_one_line(error)}): connect as the"
            " database's owner, or as a member of promgres_owner"
        )
    if error.sqlstate in TODO_OF_SQLSTATE:
        return operator_error(error)
    return OperatorError(on_one_line(error))
