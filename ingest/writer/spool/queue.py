"""The spool: where accepted requests wait, on disk, for a database that is away.

Requests that come at the same moment share one commit, and so one fsync.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prometheus_client import Counter, Gauge

from ingest import tasks
from ingest.config import Settings
from ingest.errors import OverQuota, Unavailable
from ingest.intake.quotas import UNLIMITED, TenantQuotas
from ingest.logs import get_logger
from ingest.metrics import REGISTRY
from ingest.model import TenantId
from ingest.storage.embedded import prepare_data_dir
from ingest.tasks import Pulse, keep
from ingest.writer.ledger import Ledger
from ingest.writer.spool.file import Entry, SpoolFile

log = get_logger("spool")
T = TypeVar("T")

RETRY_AFTER_SECONDS = 5
SHARE_LIMIT = "spool_share"
LONGEST_COMMIT_SECONDS = 60.0
"""A disk that takes longer hangs."""
READY_SECONDS = 1.0
FRESH_SECONDS = 10.0
"""A commit so lately says that the next one succeeds, too."""

BYTES = Gauge("promgres_spool_bytes", "Payload bytes in the spool.", registry=REGISTRY)
LIMIT_BYTES = Gauge("promgres_spool_limit_bytes", "What the spool may hold.", registry=REGISTRY)
REQUESTS = Gauge("promgres_spool_requests", "Requests in the spool.", registry=REGISTRY)
OLDEST_SECONDS = Gauge(
    "promgres_spool_oldest_seconds", "Age of the oldest spooled request.", registry=REGISTRY
)
APPENDED = Counter("promgres_spool_appended", "Requests spooled.", registry=REGISTRY)
DRAINED = Counter("promgres_spool_drained", "Spooled requests written back.", registry=REGISTRY)
SET_ASIDE = Counter(
    "promgres_spool_set_aside",
    "Spooled requests that the database failed at while it took others; see `spool rejected`.",
    registry=REGISTRY,
)
FULL = Counter("promgres_spool_full", "Requests the spool could not take.", registry=REGISTRY)
TENANT_BYTES = Gauge(
    "promgres_spool_tenant_bytes",
    "Payload bytes of a tenant in the spool.",
    ["tenant"],
    registry=REGISTRY,
)


class Spool:
    """A bounded queue on disk. All disk work is done in one thread of its own.

    Args:
        file: where it is.
        max_bytes: payload bytes that it may hold.
        quotas: which share of them each tenant may fill.

    Attributes:
        is_away: the database was found away when the last request was spooled; the next ones need
            not find out for themselves.
    """

    def __init__(self, file: SpoolFile, max_bytes: int, quotas: TenantQuotas = UNLIMITED) -> None:
        standing = file.standing()
        self._is_away = False
        self._file = file
        self._max_bytes = max_bytes
        self._bytes = 0
        self._quotas = quotas
        self._bytes_of: dict[TenantId, int] = {}
        self._requests = standing.requests
        self._oldest_ms = standing.oldest_ms
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._committed_at: float | None = None
        self._commit_pulse = Pulse(LONGEST_COMMIT_SECONDS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        LIMIT_BYTES.set(max_bytes)
        BYTES.set_function(lambda: self._bytes)
        REQUESTS.set_function(lambda: self._requests)
        OLDEST_SECONDS.set_function(self._oldest_seconds)
        TENANT_BYTES.clear()
        for tenant_id, share in standing.shares.items():
            self._hold(tenant_id, share.payload_bytes)

    @property
    def is_away(self) -> bool:
        return self._is_away

    def note_away(self) -> bool:
        """A request is spooled because the database is away; whether that is new."""
        is_new, self._is_away = not self._is_away, True
        return is_new

    def note_back(self) -> bool:
        """A spooled request is written back; whether the database was away until now."""
        was_away, self._is_away = self._is_away, False
        return was_away

    @property
    def empty(self) -> bool:
        """Whether nothing waits in it."""
        return self._requests == 0

    def has_room(self, payload_bytes: int, tenant_id: TenantId | None = None) -> bool:
        """Whether a payload of this length would fit: one of this tenant, or of anybody."""
        if self._bytes + payload_bytes > self._max_bytes:
            return False
        return tenant_id is None or self._is_within_share(tenant_id, payload_bytes)

    async def append(self, entry: Entry) -> None:
        """Put a request at the end; it is on disk when this returns.

        Raises:
            Unavailable: the spool, or its disk, is full or broken; the request is not in it.
            OverQuota: its tenant's share of the spool is full; the request is not in it.
        """
        payload_bytes = len(entry.payload)
        if not self.has_room(payload_bytes):
            FULL.inc()
            raise Unavailable("the database is away and the spool is full", RETRY_AFTER_SECONDS)
        if not self._is_within_share(entry.tenant_id, payload_bytes):
            self._quotas.note_refusal(entry.tenant_id, SHARE_LIMIT)
            raise OverQuota(
                "the database is away and the tenant's share of the spool is full"
                f" (limits.{SHARE_LIMIT})",
                RETRY_AFTER_SECONDS,
            )
        self._hold(entry.tenant_id, payload_bytes)
        safe: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, safe))
        if self._committing is None:
            self._committing = asyncio.create_task(self._keep_committing())
        await safe

    async def ready(self) -> bool:
        """Whether a request could be appended now: if none was lately, something else is."""
        if not self.has_room(1):
            return False
        now = asyncio.get_running_loop().time()
        if self._committed_at is not None and now - self._committed_at < FRESH_SECONDS:
            return True
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._in_thread(self._file.probe)
        except (sqlite3.Error, TimeoutError):
            return False
        return True

    async def first(self, most: int, behind: int = 0, without: Collection[int] = ()) -> list[Entry]:
        """The oldest requests, at most so many, behind so many that are passed over, and without
        those of these ids."""
        entries = await self._in_thread(lambda: self._file.first(most, behind, without))
        if behind == 0 and not without:
            self._oldest_ms = entries[0].received_ms if entries else None
        return entries

    async def one(self, entry_id: int) -> list[Entry]:
        """A request by its id, if it is still there."""
        return await self._in_thread(lambda: self._file.one(entry_id))

    async def set_aside(self, entry: Entry, samples: int, reason: str) -> None:
        """A request waits no longer: what it holds is kept beside the list of what was refused.

        Args:
            samples: of it, those that nothing had become of.

        Raises:
            sqlite3.Error: it is still in the spool.
        """
        await self._in_thread(lambda: self._file.set_aside(entry, samples, reason))
        self._hold(entry.tenant_id, -len(entry.payload))
        self._requests -= 1
        SET_ASIDE.inc()
        if self.empty:
            self._oldest_ms = None

    async def remove(
        self, entries: Sequence[Entry], refused: Sequence[tuple[Entry, str, int]]
    ) -> None:
        """Forget requests that are written back; what the database refused stays on a list.

        Raises:
            sqlite3.Error: they are still in it.
        """
        await self._in_thread(lambda: self._file.remove(entries, refused))
        for entry in entries:
            self._hold(entry.tenant_id, -len(entry.payload))
        self._requests -= len(entries)
        DRAINED.inc(len(entries))
        if self.empty:
            self._oldest_ms = None
            if not self._waiting:
                await self._shrink()

    async def stop(self) -> None:
        """Commit what waits, close the file."""
        if self._committing is not None:
            await asyncio.gather(self._committing, return_exceptions=True)
        await self._in_thread(self._file.close)
        self._thread.shutdown()

    async def _keep_committing(self) -> None:
        """Commit what waits, until nothing does. No caller is left waiting, whatever happens."""
        try:
            while self._waiting:
                await keep("spool commit", self._commit, [self._commit_pulse])
        finally:
            self._committing = None

    async def _commit(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            await self._commit_group(group)

    async def _commit_group(self, group: list[tuple[Entry, asyncio.Future[None]]]) -> None:
        entries = [entry for entry, _ in group]
        try:
            with self._commit_pulse.busy():
                await self._in_thread(lambda: self._file.append(entries))
        except Exception as error:
            self._committed_at = None
            self._refuse(group, error)
            return
        except BaseException as error:  # it hung, or we end
            self._committed_at = None
            self._refuse(group, error)
            raise
        self._committed_at = asyncio.get_running_loop().time()
        self._requests += len(group)
        self._oldest_ms = self._oldest_ms or entries[0].received_ms
        APPENDED.inc(len(group))
        for _, safe in group:
            if not safe.done():
                safe.set_result(None)

    async def _shrink(self) -> None:
        try:
            await self._in_thread(self._file.shrink)
        except sqlite3.Error as error:  # the next time that it is empty
            log.warning("cannot shrink the spool", error=str(error))

    def _refuse(
        self, group: Sequence[tuple[Entry, asyncio.Future[None]]], error: BaseException
    ) -> None:
        why = str(error) or "its disk does not answer"
        for entry, safe in group:
            self._hold(entry.tenant_id, -len(entry.payload))
            if not safe.done():
                reason = f"the database is away and the spool cannot be written: {why}"
                safe.set_exception(Unavailable(reason, RETRY_AFTER_SECONDS))
        FULL.inc(len(group))
        log.error("cannot spool", error=why, requests=len(group))

    def _is_within_share(self, tenant_id: TenantId, more_bytes: int) -> bool:
        most_bytes = self._quotas.spool_share(tenant_id) * self._max_bytes
        return self._bytes_of.get(tenant_id, 0) + more_bytes <= most_bytes

    def _hold(self, tenant_id: TenantId, more_bytes: int) -> None:
        """So much more (or less) of a tenant is in it, or on its way."""
        self._bytes += more_bytes
        self._bytes_of[tenant_id] = self._bytes_of.get(tenant_id, 0) + more_bytes
        TENANT_BYTES.labels(self._quotas.names(tenant_id)).inc(more_bytes)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            if self._file.note_damage(error):
                log.critical("the spool is damaged", error=str(error))
                tasks.end_process("spool")  # and the next one finds in it what can be read
            raise

    def _oldest_seconds(self) -> float:
        return 0.0 if self._oldest_ms is None else time.time() - self._oldest_ms / 1000


def open_spool(settings: Settings, ledger: Ledger, quotas: TenantQuotas) -> Spool | None:
    """The spool below the data directory; what an earlier process left in it counts as received.

    Raises:
        OperatorError: it cannot be opened, or another process uses it.
    """
    if settings.spool.max_bytes == 0:
        return None
    file = SpoolFile(prepare_data_dir(settings.data_dir))
    for tenant_id, share in file.standing().shares.items():
        ledger.find(tenant_id, share.samples)
        log.info("found spooled samples", tenant=quotas.names(tenant_id), samples=share.samples)
    return Spool(file, settings.spool.max_bytes, quotas)
