"""API keys for tests: made without a database, and made in one."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from ingest.auth.audit import Audit
from ingest.auth.authenticator import Authenticator
from ingest.auth.directory import Directory
from ingest.auth.keys import StoredKey
from ingest.auth.usage import KeyUse
from ingest.config import AuthSettings
from ingest.errors import Unavailable
from tests.support.databases import Database, connect

KEY_ID = "abcdefghijk1"
SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDE-_"
KEY = f"pmk_{KEY_ID}_{SECRET}"
SALT = b"sixteen bytes ok"


def stored(**changes: Any) -> StoredKey:
    """What a database knows of `KEY`."""
    digest = hashlib.sha256(SALT + SECRET.encode()).digest()
    scopes = frozenset({"read", "write"})
    known: dict[str, Any] = {
        "key_id": KEY_ID,
        "tenant_id": 2,
        "scopes": scopes,
        "salt": SALT,
        "hash": digest,
    }
    return StoredKey(**(known | changes))


def basic(user: str, password: str) -> str:
    """Credentials of Basic."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(key: str) -> dict[str, str]:
    """The usual header."""
    return {"Authorization": f"Bearer {key}"}


@dataclass
class FakeStore:
    """A database of tenants and keys in memory, which can be away."""

    keys: list[StoredKey] = field(default_factory=list)
    tenants: dict[int, str] = field(default_factory=lambda: {1: "default", 2: "acme"})
    limits: dict[int, dict[str, float]] = field(default_factory=dict)
    version: int = 1
    is_away: bool = False
    looks: int = 0
    reads: int = 0
    refusals: list[dict[str, Any]] = field(default_factory=list)
    used: list[list[str]] = field(default_factory=list)

    def change(self, *keys: StoredKey) -> None:
        """These are the keys from now on."""
        self.keys = list(keys)
        self.version += 1

    async def directory_version(self) -> int:
        """See `TenantStore`."""
        self.looks += 1
        self._answer()
        return self.version

    async def key_directory(self) -> str:
        """See `TenantStore`."""
        self.reads += 1
        self._answer()
        tenants = [
            {"tenant_id": number, "name": name, "limits": self.limits.get(number, {})}
            for number, name in self.tenants.items()
        ]
        keys = [_row(key) for key in self.keys]
        return json.dumps({"version": self.version, "tenants": tenants, "keys": keys})

    async def record_refusals(self, refusals: str) -> None:
        """See `TenantStore`."""
        self._answer()
        self.refusals += json.loads(refusals)

    async def note_key_use(self, key_ids: Any) -> None:
        """See `TenantStore`."""
        self._answer()
        self.used.append(list(key_ids))

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("away")


def open_gate() -> Authenticator:
    """A authenticator that lets everybody in as `default`, and knows no key."""
    store = FakeStore()
    return Authenticator(Directory(store), Audit(store), KeyUse(store), AuthSettings())


def _row(key: StoredKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "tenant_id": key.tenant_id,
        "scopes": sorted(key.scopes),
        "salt": key.salt.hex(),
        "hash": key.hash.hex(),
        "expires_at": key.expires_at,
        "revoked": key.is_revoked,
    }


async def create_tenant(database: Database, name: str) -> int:
    """A new tenant; its id."""
    async with connect(database) as connection:
        number: int = await connection.fetchval("SELECT app.create_tenant($1)", name)
    return number


async def create_key(database: Database, tenant: str, *scopes: str) -> str:
    """A new key of a tenant, with `read` and `write` unless told otherwise."""
    async with connect(database) as connection:
        key: str = await connection.fetchval(
            "SELECT key FROM app.create_key($1, $2)", tenant, list(scopes or ("read", "write"))
        )
    return key


async def change_key(database: Database, statement: str, key: str) -> Any:
    """Call a function with the key's id as $1."""
    async with connect(database) as connection:
        return await connection.fetchval(statement, key.split("_")[1])
