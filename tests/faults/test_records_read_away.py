"""Reads of measures and events while the database is slow or away, on both ports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.answer import Answer
from tests.support.databases import Database, connect, execute
from tests.support.processes import wait_until
from tests.support.record_ports import PORTS, Application, both_ports
from tests.support.remote_write import send


@pytest.fixture
def app(postgres_db: Database) -> Iterator[Application]:
    """One event of a tenant, on ports with little patience."""
    impatient = {"PROMGRES_API__STATEMENT_TIMEOUT_SECONDS": "0.5", "PROMGRES_SPOOL__AFTER": "0.3"}
    with both_ports(postgres_db, **impatient) as ports:
        app = ports.tenant("acme")
        assert app.post("read", "event", {"name": "first"}).status == 201
        yield app


def older(app: Application, port: str) -> Answer:
    """A read by a client that knows the older answers only."""
    return send(
        f"{app.ports.urls[port]}/api/v1/event", None, {"X-PMETRICS-API-KEY": app.key}, "GET"
    )


async def test_a_read_that_takes_too_long(app: Application) -> None:
    async with connect(app.ports.database) as connection:
        async with connection.transaction():
            await connection.execute("LOCK TABLE app.event IN ACCESS EXCLUSIVE MODE")
            for port in PORTS:
                answer = await asyncio.to_thread(app.get, port, "event")
                assert (answer.status, json.loads(answer.text)["code"]) == (500, "57014")
                text = await asyncio.to_thread(older, app, port)
                assert text.status == 500
                assert not text.text.startswith("{")
        for port in PORTS:
            assert len(await asyncio.to_thread(app.rows, port, "event")) == 1


async def test_no_database(app: Application) -> None:
    """Reads say so, pushes are spooled by way of either port, and everything is there after it."""
    async with _shut(app.ports.database):
        for port in PORTS:
            answer = await asyncio.to_thread(app.get, port, "event")
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert sorted(json.loads(answer.text)) == ["code", "details", "hint", "message"]
            assert (await asyncio.to_thread(older, app, port)).status == 503
            pushed = await asyncio.to_thread(app.post, port, "event", {"name": port})
            assert (pushed.status, json.loads(pushed.text)) == (201, {"stored": 1})

    def names() -> list[str]:
        answer = app.get("write", "event")
        rows = json.loads(answer.text) if answer.status == 200 else []
        return sorted(row["d"]["name"] for row in rows)

    await asyncio.to_thread(wait_until, lambda: names() == ["first", *PORTS])


@asynccontextmanager
async def _shut(database: Database) -> AsyncIterator[None]:
    """No connection to it, old or new."""
    parts = urlsplit(database.url)
    admin, name = database.url.replace(f"/{parts.path[1:]}?", "/postgres?"), parts.path[1:]
    await execute(
        admin,
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    try:
        yield
    finally:
        await execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
