"""From a decoded request to the moment when it is safe: committed, or in the spool."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ingest.errors import Unavailable
from ingest.logs import get_logger
from ingest.model import Intake, Rejection, TenantId
from ingest.writer.ledger import Ledger, PendingRequest
from ingest.writer.pipeline import Pipeline
from ingest.writer.spool.file import Entry
from ingest.writer.spool.queue import Spool

log = get_logger("writer")


class StoreOrSpool:
    """Tries the database first, and the spool where that does not confirm in time.

    Args:
        spool: None does without; senders then keep what the database does not take.
        spool_after_seconds: how long the database may take before a request is spooled.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        ledger: Ledger,
        spool: Spool | None,
        spool_after_seconds: float,
    ) -> None:
        self._pipeline = pipeline
        self._ledger = ledger
        self._spool = spool
        self._spool_after_seconds = spool_after_seconds
        self._tasks: set[asyncio.Task[Any]] = set()
        self._patience: set[asyncio.Future[None]] = set()

    async def wait_for_room(self, tenant_id: TenantId) -> None:
        """Return when a request may be decoded; the caller decodes before it awaits again.

        Raises:
            Unavailable: the database is there and cannot keep up.
        """
        if self._spool is None or not self._spool.is_away:
            await self._pipeline.backlog.wait_for_room(tenant_id)

    async def keep(self, intake: Intake, entry: Entry) -> list[Rejection]:
        """Make a request safe that `Ledger.receive` has counted. Cancelling the caller does not
        cancel the write.

        Args:
            entry: the same request as the spool would keep it.

        Returns:
            What the database rejected.

        Raises:
            Unavailable: it is not known to be safe; a retry is harmless.
        """
        request = self._ledger.begin(intake)
        return await asyncio.shield(self._run(self._keep(intake, request, entry)))

    def hurry(self, seconds: float) -> None:
        """The process ends: from now on the database has so long to confirm what it was given, then
        that is spooled."""
        self._spool_after_seconds = min(self._spool_after_seconds, seconds)
        for over in self._patience:
            asyncio.get_running_loop().call_later(seconds, _end, over)

    async def stop(self, seconds: float) -> None:
        """Finish what was begun, as far as that takes no longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def _keep(self, intake: Intake, request: PendingRequest, entry: Entry) -> list[Rejection]:
        try:
            if self._spool is None:
                return await self._pipeline.write(intake, request)
            return await self._store_or_spool(self._spool, intake, request, entry)
        except BaseException:
            request.settle_rest("unavailable")
            raise
        finally:
            request.end()

    async def _store_or_spool(
        self, spool: Spool, intake: Intake, request: PendingRequest, entry: Entry
    ) -> list[Rejection]:
        is_away = True
        if not spool.is_away:
            attempt = self._run(self._pipeline.write(intake, request))
            await self._wait_for(attempt)
            if not attempt.done() and not spool.has_room(len(entry.payload), intake.tenant_id):
                await asyncio.wait([attempt])
            failure = attempt.exception() if attempt.done() else None
            if attempt.done() and not isinstance(failure, Unavailable):
                return attempt.result()
            is_away = not await self._is_of_the_request(failure)

        # From here on the spool answers for what has no result yet: a batch that is still under way
        # counts it no more, and what it stores is a duplicate when the request is replayed.
        left = request.detach()
        await spool.append(entry._replace(samples=left, settled=intake.storable - left))
        request.spool_rest()
        if is_away and spool.note_away():
            log.warning("the database is away: spooling")
        return request.rejections

    async def _wait_for(self, attempt: asyncio.Task[list[Rejection]]) -> None:
        """Return when it is done, or patience with the database is at its end."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        self._patience.add(over)
        timer = loop.call_later(self._spool_after_seconds, _end, over)
        try:
            both: list[asyncio.Future[Any]] = [attempt, over]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            self._patience.discard(over)

    async def _is_of_the_request(self, failure: BaseException | None) -> bool:
        """Whether the database fails at this request alone: the others need not go to the spool."""
        if not (isinstance(failure, Unavailable) and failure.blames_request):
            return False
        if not await self._pipeline.reach():
            return False
        log.warning("the database fails at a request: spooled", reason=str(failure))
        return True

    def _run(self, work: Coroutine[Any, Any, list[Rejection]]) -> asyncio.Task[list[Rejection]]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        """No one may be waiting any more: look at the exception, so that asyncio does not warn."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
