"""Tenants and keys in memory: always at hand, never older than a second or so.

A request is judged by what is known. Only what nobody knows is looked for: so keys go on working
while the database is away, and a key that was created a moment ago works at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from ingest.auth.keys import PresentedKey, StoredKey, is_proved
from ingest.auth.metrics import READ_AT
from ingest.auth.snapshot import Snapshot, Tenant, parse_snapshot
from ingest.errors import KeyRefused, Unavailable
from ingest.logs import get_logger
from ingest.model import TenantId, TenantLimits

log = get_logger("tenants")

PAUSE_SECONDS = 0.2
"""Between two looks, at least: whoever guesses keys waits for them, and the database does not."""
LOOK_SECONDS = 3.0
"""What a look may take; then the database counts as away."""
WHOLE_SECONDS = 60.0
"""All of it is read again once in so long: a database restored from a backup may count the same."""
RETRY_AFTER_SECONDS = 5


class Source(Protocol):
    """Where tenants and keys are kept; every call raises Unavailable when that is away."""

    async def directory_version(self) -> int:
        """A number that changes whenever a tenant or a key does."""

    async def key_directory(self) -> str:
        """All of them, with their version: the document of `internal.key_directory()`."""


class Directory:
    """What is known of tenants and keys.

    Args:
        clock: seconds since 1970, by which keys expire.

    Attributes:
        document: what the source said last, for a process to come; None before it said anything.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.time) -> None:
        self.document: str | None = None
        self._source = source
        self._clock = clock
        self._snapshot = Snapshot()
        self._looking = asyncio.Lock()
        self._began = float("-inf")
        self._known_at = float("-inf")
        self._read_whole = float("-inf")
        self._is_away = False

    def restore(self, document: str) -> None:
        """Go by what an earlier process knew until the source can be asked."""
        self._snapshot = parse_snapshot(document)

    def name_of(self, tenant_id: TenantId) -> str:
        """A tenant's name; the number of one that is not known."""
        tenant = self._snapshot.tenants.get(tenant_id)
        return tenant.name if tenant else str(tenant_id)

    def limits_of(self, tenant_id: TenantId) -> TenantLimits:
        """What a tenant's own row allows it."""
        tenant = self._snapshot.tenants.get(tenant_id)
        return tenant.limits if tenant else TenantLimits()

    async def key(self, presented: PresentedKey) -> StoredKey:
        """The key, if it is one and valid now.

        Raises:
            KeyRefused: 401; of a key that is not known only after a look that began after the call.
            Unavailable: it is not known, and the database cannot be asked.
        """
        asked_at = time.monotonic()
        stored = self._proved(presented)
        if stored is None:
            await self.look(asked_at)
            stored = self._proved(presented)
        if stored is None:
            raise KeyRefused("no such API key", "unknown", key_id=presented.key_id)
        self._refuse_old(stored)
        return stored

    async def tenant_named(self, name: str) -> Tenant:
        """The tenant of a name.

        Raises:
            KeyRefused: 401, there is none: also only after a look.
            Unavailable: it is not known, and the database cannot be asked.
        """
        asked_at = time.monotonic()
        tenant = self._snapshot.tenant_named(name)
        if tenant is None:
            await self.look(asked_at)
            tenant = self._snapshot.tenant_named(name)
        if tenant is None:
            raise KeyRefused("X-Scope-OrgID names no tenant", "tenant")
        return tenant

    async def look(self, since: float) -> None:
        """Return once what is known is at least as new as `since`; all who wait share one look.

        Args:
            since: `time.monotonic()`.

        Raises:
            Unavailable: the database cannot be asked; what was known stays known.
        """
        async with self._looking:
            if self._known_at <= since:
                await asyncio.sleep(self._began + PAUSE_SECONDS - time.monotonic())
                self._began = time.monotonic()
                await self._look()
                self._known_at = self._began  # not if it was cancelled: others wait for its end
            if self._is_away:
                raise Unavailable("the key cannot be checked now", RETRY_AFTER_SECONDS)

    def _proved(self, presented: PresentedKey) -> StoredKey | None:
        """The key, if it is known by that id and has that secret; both in the same time."""
        stored = self._snapshot.keys.get(presented.key_id)
        return stored if is_proved(stored, presented.secret) else None

    def _refuse_old(self, stored: StoredKey) -> None:
        """Who gets here has proved to hold the key, and may know what is wrong with it."""
        key_id, tenant_id = stored.key_id, stored.tenant_id
        if stored.is_revoked:
            raise KeyRefused("the API key is revoked", "revoked", 401, key_id, tenant_id)
        if stored.expires_at is not None and stored.expires_at <= self._clock():
            raise KeyRefused("the API key has expired", "expired", 401, key_id, tenant_id)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._read()
        except Exception as error:
            if not self._is_away:
                is_ours = not isinstance(error, (Unavailable, TimeoutError))
                log.warning("keys cannot be read; known ones go on", exc_info=is_ours)
            self._is_away = True
            self._read_whole = float("-inf")
        else:
            if self._is_away:
                log.info("keys can be read again")
            self._is_away = False
            READ_AT.set_to_current_time()

    async def _read(self) -> None:
        version = await self._source.directory_version()
        is_due = self._began - self._read_whole >= WHOLE_SECONDS
        if is_due or version != self._snapshot.version:
            document = await self._source.key_directory()
            self._snapshot = parse_snapshot(document)
            self.document = document
            self._read_whole = self._began
