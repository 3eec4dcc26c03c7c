"""A read API in the test's own event loop, on a database with functions of every shape."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import jwt
from pydantic import SecretStr

from ingest.config import ApiSettings, Settings
from ingest.ports.read_server import ReadServer
from ingest.prometheus.nursery import Nursery
from tests.support.answer import Answer
from tests.support.databases import Database, connect

SECRET = "a secret of the tests, long enough for HS256"
FUNCTIONS = Path(__file__).with_name("api_functions.sql")


class Client:
    """Talks HTTP to a read API, and SQL to the database under it."""

    def __init__(
        self, session: aiohttp.ClientSession, address: str, database: Database, settings: Settings
    ) -> None:
        self.session = session
        self.url = f"http://{address}"
        self.database = database
        self.settings = settings

    async def request(
        self, method: str, path: str, token: str | None = None, **arguments: Any
    ) -> Answer:
        """One request, exactly as given."""
        headers = dict(arguments.pop("headers", {}))
        headers.setdefault("Accept-Encoding", "identity")
        if "data" in arguments:
            headers.setdefault("Content-Type", "application/json")
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(
            method, self.url + path, headers=headers, **arguments
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, function: str, token: str | None = None, **arguments: Any) -> Answer:
        """GET /rpc/function with arguments in the query."""
        headers = arguments.pop("headers", {})
        query = urlencode(arguments, doseq=True)
        path = f"/rpc/{function}" + (f"?{query}" if query else "")
        return await self.request("GET", path, token, headers=headers)

    async def post(self, function: str, token: str | None = None, **arguments: Any) -> Answer:
        """POST /rpc/function with a JSON body."""
        headers = arguments.pop("headers", {})
        return await self.request(
            "POST", f"/rpc/{function}", token, json=arguments, headers=headers
        )

    async def raw(self, *pieces: bytes) -> bytes:
        """Send bytes, each piece when something has come for the one before; all that came back."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        received = b""
        for piece in pieces[:-1]:
            writer.write(piece)
            received += await reader.read(1000)
        writer.write(pieces[-1])
        received += await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return received

    async def sql(self, *statements: str) -> Any:
        """Run statements as the owner of everything; the value of the last."""
        async with connect(self.database) as connection:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token that is valid for a minute, unless `claims` say otherwise."""
    return jwt.encode({"exp": int(time.time()) + 60} | claims, secret, algorithm=algorithm)


def api_settings(database: Database, **changes: Any) -> Settings:
    """Settings of a read API; what is no field of `Settings` belongs to its section `api`."""
    section = {key: changes.pop(key) for key in list(changes) if key in ApiSettings.model_fields}
    given = {"api_listen": "127.0.0.1:0", "jwt_secret": SecretStr(SECRET)} | changes
    return database.settings(api=ApiSettings(**section), **given)


def login_url(database: Database) -> str:
    """The URL of the login `promgres_api`; on PGlite every session is the superuser."""
    if database.one_session:
        return database.url
    return database.url.replace("//postgres@", "//promgres_api@")


@asynccontextmanager
async def running_api(database: Database, **changes: Any) -> AsyncIterator[Client]:
    """A read API on `database` while the block runs."""
    settings = api_settings(database, **changes)
    with closing(Nursery()) as nursery:  # which the server also closes, unless it cannot be made
        server = ReadServer(settings, login_url(database), nursery)
        try:
            await server.start()
            async with aiohttp.ClientSession(auto_decompress=False) as session:
                yield Client(session, server.address, database, settings)
        finally:
            await server.stop()


async def add_functions(database: Database) -> None:
    """Create what `api_functions.sql` holds."""
    async with connect(database) as connection:
        await connection.execute(FUNCTIONS.read_text())
