"""Measures and events: written as one line each, stored as a daemon would, and read."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from ingest.model import DEFAULT_TENANT_ID
from ingest.stores import STORES
from tests.engines.sql_api import Api

PAGE = "SELECT * FROM internal.pushed_page($1, $2, $3, $4, $5, $6, $7, $8, $9)"
BUCKETS = "SELECT internal.measure_buckets($1, $2, $3, $4, $5::text::interval, $6)"


@dataclass(frozen=True)
class Event:
    """One event; `key_decides` as with an idempotency key and no time."""

    time: datetime
    name: str
    attributes: Any = field(default_factory=dict)
    item_id: uuid.UUID = field(default_factory=uuid.uuid4)
    key_decides: bool = False
    tenant_id: int = DEFAULT_TENANT_ID

    kind = "event"


@dataclass(frozen=True)
class Measure:
    """One measure. `exact` is a decimal's text."""

    time: datetime
    name: str
    value: float = 1.0
    exact: str | None = None
    attributes: Any = field(default_factory=dict)
    item_id: uuid.UUID = field(default_factory=uuid.uuid4)
    key_decides: bool = False
    target: str = "internal"
    schema: str = "common"
    tenant_id: int = DEFAULT_TENANT_ID

    kind = "measure"


def item(number: int) -> uuid.UUID:
    """An id that sorts by its number."""
    return uuid.UUID(int=number)


async def push(api: Api, *items: Measure | Event) -> int:
    """Commit items of one kind the way every client may: a COPY into staging.

    Returns:
        How many were new.
    """
    kind = items[0].kind
    await make_room(api, kind, [one.time for one in items])
    return await copy(api, items)


async def make_room(api: Api, kind: str, times: Sequence[datetime]) -> None:
    """Engine postgres: partitions for these times."""
    if api.database.engine == "postgres":
        ensure = "SELECT internal.ensure_partitions($1, $2, $3)"
        await api.connection.execute(ensure, kind, min(times), max(times))


async def copy(api: Api, items: Sequence[Measure | Event]) -> int:
    """One COPY of items of one kind, for which there is room; how many were new."""
    store = STORES[items[0].kind]
    async with api.connection.transaction():
        await api.connection.copy_records_to_table(
            store.table,
            schema_name=store.staging_schema,
            columns=store.column_names,
            records=[tuple(_column(one, name) for name in store.column_names) for one in items],
        )
        return int(await api.connection.fetchval("SELECT current_setting('promgres.new_rows')"))


async def page(
    api: Api,
    kind: str,
    shape: str = "flat",
    name: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    attributes: Any = None,
    limit: int = 100,
    after: tuple[datetime | None, uuid.UUID | None] = (None, None),
) -> tuple[list[Any], tuple[datetime | None, uuid.UUID | None]]:
    """Items of a page, numbers as decimals, and where the next one begins."""
    wanted = None if attributes is None else json.dumps(attributes)
    arguments = (kind, shape, name, since, until, wanted, limit, *after)
    (row,) = await api.connection.fetch(PAGE, *arguments)
    return json.loads(row["body"], parse_float=Decimal), (row["next_time"], row["next_id"])


async def buckets(
    api: Api,
    width: str,
    name: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    attributes: Any = None,
    limit: int | None = 100,
) -> list[Any]:
    """Buckets, newest first, numbers as decimals."""
    wanted = None if attributes is None else json.dumps(attributes)
    body = await api.connection.fetchval(BUCKETS, name, since, until, wanted, width, limit)
    found: list[Any] = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    return found


@asynccontextmanager
async def as_tenant(api: Api, tenant_id: int) -> AsyncIterator[None]:
    """Read as this tenant inside the block."""
    await api.connection.execute(f"SET promgres.tenant_id = '{tenant_id}'")
    yield
    await api.connection.execute("SET promgres.tenant_id = ''")


def text(time: datetime) -> str:
    """As bodies spell it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _column(one: Measure | Event, name: str) -> Any:
    value = getattr(one, name)
    if name == "attributes":
        return json.dumps(value)
    return Decimal(value) if name == "exact" and value is not None else value
