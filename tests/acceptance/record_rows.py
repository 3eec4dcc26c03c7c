"""Measures and events as senders push them, and as they are stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg

from tests.support.answer import Answer
from tests.support.databases import Database, connect
from tests.support.keys import bearer, create_key, create_tenant
from tests.support.remote_write import send

MEASURES = """
    SELECT name, coalesce(exact, value::text::numeric) AS value, attributes::text,
        (extract(epoch FROM time) * 1000000)::bigint AS timestamp_us, schema, item_id
    FROM app.measure WHERE tenant_id = $1 ORDER BY time, name
"""
EVENTS = """
    SELECT name, attributes::text, (extract(epoch FROM time) * 1000000)::bigint AS timestamp_us,
        item_id
    FROM app.event WHERE tenant_id = $1 ORDER BY time, name
"""


@dataclass(frozen=True)
class Pusher:
    """An application of a tenant of its own."""

    database: Database
    address: str
    tenant: str
    tenant_id: int
    key: str

    def push(
        self, kind: str, body: object, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> Answer:
        """Push; what is no bytes is sent as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://{self.address}/api/v1/{kind}"
        return send(url, content, bearer(self.key) if headers is None else headers, method)

    def older(self, kind: str, body: object) -> Answer:
        """The same as the older API's clients do it."""
        return self.push(kind, body, {"X-PMETRICS-API-KEY": self.key})

    async def measures(self) -> list[asyncpg.Record]:
        """What is stored of it."""
        return await self._rows(MEASURES)

    async def events(self) -> list[asyncpg.Record]:
        """What is stored of it."""
        return await self._rows(EVENTS)

    async def _rows(self, query: str) -> list[asyncpg.Record]:
        async with connect(self.database) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, self.tenant_id)
        return rows


async def pusher(database: Database, address: str, tenant: str) -> Pusher:
    """A new tenant's."""
    tenant_id = await create_tenant(database, tenant)
    return Pusher(database, address, tenant, tenant_id, await create_key(database, tenant))


def exactly(text: str | bytes) -> Any:
    """JSON with its numbers as they are written."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)
