"""A database that history is read from: it is never written to, and what it says against being read
is one line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from ingest.config import DatabaseSettings
from ingest.errors import DatabaseUnreachable, OperatorError
from ingest.storage.pgerrors import translated
from ingest.storage.pool import AnyConnection, create_pool, transaction
from ingest.storage.session import READ_ONLY, READING, begin
from ingest.text import on_one_line

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def open_source(url: str, settings: DatabaseSettings) -> AsyncIterator[AnyConnection]:
    """A connection to the source.

    Raises:
        DatabaseUnreachable: there is none.
    """
    one = settings.model_copy(update={"pool_size": 1})
    try:
        pool = await create_pool(url, one, "promgres import: source")
    except DatabaseUnreachable as error:
        raise DatabaseUnreachable(f"the source: {error}") from None
    try:
        async with pool.acquire() as connection:
            yield connection
    finally:
        pool.terminate()


@asynccontextmanager
async def reading(connection: AnyConnection) -> AsyncIterator[None]:
    """A transaction that sees one moment of the source, however long it takes.

    Raises:
        OperatorError: what the source says against it.
    """
    version = connection.get_server_version().major
    settings = {**READING, "statement_timeout": "0"}
    with translated(_refused, _gone):
        async with transaction(connection, begin(READ_ONLY, settings, version)):
            yield


def quoted(schema: str, name: str) -> str:
    """A table as SQL says it."""
    return ".".join('"' + each.replace('"', '""') + '"' for each in (schema, name))


def moment_of(since_1970_us: int) -> datetime:
    """The moment, to the microsecond."""
    return _EPOCH + timedelta(microseconds=since_1970_us)


def _refused(error: asyncpg.PostgresError) -> OperatorError:
    said = " ".join(str(error).split())
    return OperatorError(f"the source refuses: {said} (SQLSTATE {error.sqlstate})")


def _gone(error: BaseException) -> OperatorError:
    what = on_one_line(error)
    return DatabaseUnreachable(
        f"the source went away: {what}; the same command goes on where this one was"
    )
