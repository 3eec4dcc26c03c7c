"""Tenants and keys of one process put together, and kept up to date in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from ingest.auth.audit import Audit, Recorder
from ingest.auth.authenticator import Authenticator
from ingest.auth.directory import Directory, Source
from ingest.auth.usage import KeyUse, Notebook
from ingest.config import AuthSettings
from ingest.errors import Unavailable
from ingest.logs import get_logger
from ingest.tasks import Pulse, keep

log = get_logger("tenants")

EVERY_SECONDS = 1.0
"""How old what is known may be: a revoked key is refused within about so long."""

USE_EVERY_SECONDS = 5.0
GOODBYE_SECONDS = 1.0
SOON_SECONDS = 0.5
LONGEST_CALL_SECONDS = 60.0
"""Every call to the database gives up long before."""


class TenantStore(Source, Recorder, Notebook, Protocol):
    """What the tenants room asks of the database."""


class Tenancy:
    """The authenticator, and what it stands on.

    Use `start`, then `stop`.
    """

    def __init__(self, store: TenantStore, settings: AuthSettings) -> None:
        self.directory = Directory(store)
        self._audit = Audit(store)
        self._usage = KeyUse(store)
        self.authenticator = Authenticator(self.directory, self._audit, self._usage, settings)
        self._running: list[asyncio.Task[None]] = []

    async def start(self, known: str | None = None) -> None:
        """Read the directory if the database is there, then keep it up to date.

        Args:
            known: what an earlier process knew of it: what the database does not say soon is not
                waited for.
        """
        if known is not None:
            self.directory.restore(known)
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(None if known is None else SOON_SECONDS):
                await self._look()
        work = (
            _repeat("keys", self._look),
            _repeat("audit", self._audit.write),
            _repeat("key use", self._usage.write, USE_EVERY_SECONDS),
        )
        self._running = [asyncio.create_task(one) for one in work]

    async def stop(self) -> None:
        """Write what waits, if the database is there and takes it at once."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=GOODBYE_SECONDS)
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._audit.write(everything=True)
                await self._usage.write()

    async def _look(self) -> None:
        await self.directory.look(time.monotonic())


async def _repeat(
    name: str, work: Callable[[], Awaitable[object]], seconds: float = EVERY_SECONDS
) -> None:
    """Do it every so many seconds, at once again while there is more."""
    pulse = Pulse(LONGEST_CALL_SECONDS)
    await keep(name, lambda: _rounds(work, pulse, seconds), [pulse])


async def _rounds(work: Callable[[], Awaitable[object]], pulse: Pulse, seconds: float) -> None:
    """A database that is away is no news: `Directory.look` says so."""
    while True:
        more: object = None
        try:
            with pulse.busy():
                more = await work()
        except Unavailable:
            pass
        except Exception:
            log.exception("keeping keys up to date failed; retrying")
        if not more:
            await asyncio.sleep(seconds)
