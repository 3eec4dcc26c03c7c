"""From a decoded request to the moment when it is safe: committed, or in the spool."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from ingest.errors import Unavailable
from ingest.logs import get_logger
from ingest.model import Intake, Rejection
from ingest.writer.ledger import Ledger, PendingRequest
from ingest.writer.pipeline import Pipeline
from ingest.writer.spool.file import Entry
from ingest.writer.spool.queue import Spool

log = get_logger("writer")

T = TypeVar("T")


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
        # Requests that the database was given and has not confirmed, the oldest first, and until
        # when it may; one timer is for all of them.
        self._unconfirmed: dict[PendingRequest, float] = {}
        self._timer: asyncio.TimerHandle | None = None

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
        is_given = self._spool is None or not self._spool.is_away
        try:
            if is_given:
                self._give(intake, request)
                await self._confirmed(request)
        except asyncio.CancelledError:
            self._run(self._finish(intake, request, entry, is_given))
            raise
        except BaseException:
            request.settle_rest("unavailable")
            request.end()
            raise
        if is_given and request.is_decided and request.failure is None:
            request.end()
            return request.rejections
        return await asyncio.shield(self._run(self._finish(intake, request, entry, is_given)))

    def hurry(self, seconds: float) -> None:
        """The process ends: from now on the database has so long to confirm what it was given, then
        that is spooled."""
        loop = asyncio.get_running_loop()
        self._spool_after_seconds = min(self._spool_after_seconds, seconds)
        until = loop.time() + self._spool_after_seconds
        self._unconfirmed = {one: min(at, until) for one, at in self._unconfirmed.items()}
        if self._timer is not None:
            self._timer.cancel()
            self._lose_patience()

    async def stop(self, seconds: float) -> None:
        """Finish what was begun, as far as that takes no longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def _give(self, intake: Intake, request: PendingRequest) -> None:
        """Hand a request to the database; it hears itself what comes of it."""
        loop = asyncio.get_running_loop()
        if self._spool is not None:
            until = self._unconfirmed[request] = loop.time() + self._spool_after_seconds
            if self._timer is None:
                self._timer = loop.call_at(until, self._lose_patience)
        if intake.new:
            request.open()
            self._run(self._give_new(intake, request))
        else:
            self._pipeline.put(intake, request, {})

    async def _give_new(self, intake: Intake, request: PendingRequest) -> None:
        failure: Exception | None = None
        try:
            await self._pipeline.put_new(intake, request)
        except Exception as error:  # whoever waits for the request raises it
            failure = error
        finally:
            request.close_rows(0, failure=failure)

    async def _confirmed(self, request: PendingRequest) -> None:
        """Return when all of it is decided, or patience with the database is at its end."""
        while not request.is_decided and (self._spool is None or request in self._unconfirmed):
            await request.wait()
        self._unconfirmed.pop(request, None)

    def _lose_patience(self) -> None:
        """Let go of requests that have waited long enough: they go to the spool."""
        loop, self._timer = asyncio.get_running_loop(), None
        for request, until in list(self._unconfirmed.items()):
            if until > loop.time():
                self._timer = loop.call_at(until, self._lose_patience)
                return
            del self._unconfirmed[request]
            request.stop_waiting()

    async def _finish(
        self, intake: Intake, request: PendingRequest, entry: Entry, is_given: bool
    ) -> list[Rejection]:
        """What is to be done where the database does not simply store all of it, or its sender
        waits no more.

        Args:
            is_given: whether the database was given the request.
        """
        try:
            if is_given:
                await self._confirmed(request)
            if self._spool is None:
                return request.outcome()
            return await self._store_or_spool(self._spool, intake, request, entry, is_given)
        except BaseException:
            request.settle_rest("unavailable")
            raise
        finally:
            request.end()

    async def _store_or_spool(
        self,
        spool: Spool,
        intake: Intake,
        request: PendingRequest,
        entry: Entry,
        is_given: bool,
    ) -> list[Rejection]:
        is_away = True
        if is_given:
            if not spool.has_room(len(entry.payload), intake.tenant_id):
                while not request.is_decided:
                    await request.wait()
            failure = request.failure if request.is_decided else None
            if request.is_decided and not isinstance(failure, Unavailable):
                return request.outcome()
            is_away = not await self._is_of_the_request(failure)

        # From here on the spool answers for what has no result yet: a batch that is still under way
        # counts it no more, and what it stores is a duplicate when the request is replayed.
        left = request.detach()
        await spool.append(entry._replace(samples=left, settled=intake.storable - left))
        request.spool_rest()
        if is_away and spool.note_away():
            log.warning("the database is away: spooling")
        return request.rejections

    async def _is_of_the_request(self, failure: Exception | None) -> bool:
        """Whether the database fails at this request alone: the others need not go to the spool."""
        if not (isinstance(failure, Unavailable) and failure.blames_request):
            return False
        if not await self._pipeline.reach():
            return False
        log.warning("the database fails at a request: spooled", reason=str(failure))
        return True

    def _run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        """No one may be waiting any more: look at the exception, so that asyncio does not warn."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()
