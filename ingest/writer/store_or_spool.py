"""From a decoded request to the moment when it is safe: committed, or in the spool."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ingest.errors import Unavailable
from ingest.logs import get_logger
from ingest.model import Intake, Rejection
from ingest.wire.remote_write.negotiate import Protocol
from ingest.writer.ledger import Accounts, beside_samples
from ingest.writer.pipeline import Writers
from ingest.writer.spool.file import Entry
from ingest.writer.spool.queue import Spool
from ingest.writer.ticket import Ticket

log = get_logger("writer")


class Safekeeping:
    """Tries the database first, and the spool where that does not confirm in time.

    Args:
        spool: None does without; senders then keep what the database does not take.
        spool_after_seconds: how long the database may take before a request is spooled.
    """

    def __init__(
        self,
        writers: Writers,
        accounts: Accounts,
        spool: Spool | None,
        spool_after_seconds: float,
    ) -> None:
        self._writers = writers
        self._accounts = accounts
        self._spool = spool
        self._spool_after_seconds = spool_after_seconds
        self._tasks: set[asyncio.Task[Any]] = set()
        self._patience: set[asyncio.Future[None]] = set()

    async def wait_for_room(self, tenant_id: int) -> None:
        """Return when a request may be decoded; the caller decodes before it awaits again.

        Raises:
            Unavailable: the database is there and cannot keep up.
        """
        if self._spool is None or not self._spool.away:
            await self._writers.backlog.wait_for_room(tenant_id)

    async def keep(
        self, intake: Intake, received_ms: int, protocol: Protocol, payload: bytes
    ) -> list[Rejection]:
        """Make a request safe that `Accounts.receive` has counted. Who stops waiting stops nothing.

        Args:
            protocol, payload: the message as a snappy block, for the spool.

        Returns:
            What the database rejected.

        Raises:
            Unavailable: it is not known to be safe; a retry is harmless.
        """
        self._accounts.beside_samples += beside_samples(intake)
        return await asyncio.shield(self._run(self._keep(intake, received_ms, protocol, payload)))

    def hurry(self, seconds: float) -> None:
        """The process ends: from now on the database has so long to confirm what it was given, then
        that is spooled."""
        self._spool_after_seconds = min(self._spool_after_seconds, seconds)
        for over in self._patience:
            asyncio.get_running_loop().call_later(seconds, _end, over)

    async def close(self, seconds: float) -> None:
        """Finish what was begun, as far as that takes no longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def _keep(
        self, intake: Intake, received_ms: int, protocol: Protocol, payload: bytes
    ) -> list[Rejection]:
        ticket = Ticket(intake.storable)
        try:
            return await self._commit_or_spool(intake, ticket, received_ms, protocol, payload)
        except BaseException:
            self._refuse(intake, ticket)
            raise
        finally:
            self._accounts.beside_samples -= beside_samples(intake)

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

    async def _commit_or_spool(
        self, intake: Intake, ticket: Ticket, received_ms: int, protocol: Protocol, payload: bytes
    ) -> list[Rejection]:
        spool = self._spool
        if spool is None:
            return await self._writers.write(intake, ticket)
        if not spool.away:
            attempt = self._run(self._writers.write(intake, ticket))
            await self._wait_for(attempt)
            if not attempt.done() and not spool.has_room(len(payload), intake.tenant_id):
                await asyncio.wait([attempt])
            failure = attempt.exception() if attempt.done() else None
            if attempt.done() and not isinstance(failure, Unavailable):
                return attempt.result()
            is_away = not await self._is_of_the_request(failure)
        else:
            is_away = True
        rest = self._spool_rest(spool, intake, ticket, received_ms, protocol, payload)
        rejections = await rest
        if is_away and not spool.away:
            log.warning("the database is away: spooling")
            spool.away = True
        return rejections

    async def _is_of_the_request(self, failure: BaseException | None) -> bool:
        """Whether the database fails at this request alone: the others need not go to the spool."""
        if not (isinstance(failure, Unavailable) and failure.blames_request):
            return False
        if not await self._writers.reach():
            return False
        log.warning("the database fails at a request: spooled", reason=str(failure))
        return True

    async def _spool_rest(
        self,
        spool: Spool,
        intake: Intake,
        ticket: Ticket,
        received_ms: int,
        protocol: Protocol,
        payload: bytes,
    ) -> list[Rejection]:
        """Spool a request whose rows are not all decided; what they become is counted later."""
        ticket.detached = True
        rows = ticket.undecided
        settled = intake.storable - rows
        entry = Entry(0, received_ms, intake.tenant_id, protocol.value, rows, settled, payload)
        await spool.append(entry)
        self._accounts.spool(intake.tenant_id, rows)
        ticket.undecided = 0
        return ticket.rejections

    def _refuse(self, intake: Intake, ticket: Ticket) -> None:
        ticket.detached = True
        self._accounts.settle(intake.tenant_id, "unavailable", ticket.undecided)
        ticket.undecided = 0

    def _run(self, work: Coroutine[Any, Any, list[Rejection]]) -> asyncio.Task[list[Rejection]]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        """Nobody may be waiting any more: look at the exception, so that asyncio does not warn."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
