"""From headers to a body: who may send how much, checked before anything is read.

Remote write and pushes share these limits: they share the memory and the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from aiohttp import web

from ingest.errors import PayloadTooLarge, Unavailable
from ingest.intake.limits import over_limit
from ingest.intake.rates import Rates
from ingest.model import Intake
from ingest.receiver.metrics import BODY_BYTES
from ingest.tenants.access import WRITE, Access
from ingest.tenants.gate import Gate
from ingest.writer.backlog import Backlog


class Body(NamedTuple):
    """The content of a request as it was sent, and who sent it."""

    access: Access
    content: bytes


class Bodies:
    """Lets requests in.

    Args:
        most_bytes: of one body, as sent.
        most_at_once: requests under way; 0 is no limit.
        answer_within_seconds: every request has its answer by then, from its first byte on.
    """

    def __init__(
        self,
        gate: Gate,
        rates: Rates,
        backlog: Backlog,
        most_bytes: int,
        most_at_once: int,
        answer_within_seconds: float,
    ) -> None:
        self._large = asyncio.Lock()
        self._gate = gate
        self._rates = rates
        self._backlog = backlog
        self._most_bytes = most_bytes
        self._most_at_once = most_at_once
        self._answer_within_seconds = answer_within_seconds
        self._under_way = 0

    @asynccontextmanager
    async def take(self, request: web.Request) -> AsyncIterator[Body]:
        """A request's body, for as long as it is worked on; that, too, has to end in time.

        Raises:
            KeyRefused: it brings no key, or one that does not allow to write.
            PayloadTooLarge: the body is too long.
            OverQuota: its tenant has had its share.
            Unavailable: too much is under way, or the time for an answer is over.
        """
        try:
            async with asyncio.timeout(self._answer_within_seconds):
                access = await self._gate.admit(request.headers, request.remote, WRITE)
                with self._one_more():
                    self._rates.check(access.tenant_id)
                    with self._backlog.body(self._expected_bytes(request)):
                        yield Body(access, await self._read(request))
        except TimeoutError:
            raise Unavailable("the time for an answer is over; try again") from None

    async def decode(self, steps: Iterator[Intake]) -> Intake:
        """Decode a large message, and let others have their turn meanwhile. One at a time: what is
        admitted counts only once it is decoded.

        Args:
            steps: the intake, again and again; the last one is complete.
        """
        async with self._large:
            for intake in steps:  # noqa: B007 (the last one is complete)
                await asyncio.sleep(0)
        return intake

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """Whoever is not admitted counts for nothing."""
        self._under_way += 1
        try:
            if 0 < self._most_at_once < self._under_way:
                over_limit("concurrent_requests")
                raise Unavailable("too many requests at once (limits.concurrent_requests)")
            yield
        finally:
            self._under_way -= 1

    def _expected_bytes(self, request: web.Request) -> int:
        length_bytes = request.content_length
        if length_bytes is None:
            return self._most_bytes
        if length_bytes > self._most_bytes:
            raise self._too_large()
        return length_bytes

    async def _read(self, request: web.Request) -> bytes:
        chunks = []
        total_bytes = 0
        async for chunk in request.content.iter_any():
            total_bytes += len(chunk)
            if total_bytes > self._most_bytes:
                raise self._too_large()
            chunks.append(chunk)
        BODY_BYTES.inc(total_bytes)
        return b"".join(chunks)

    def _too_large(self) -> PayloadTooLarge:
        over_limit("max_body_bytes")
        return PayloadTooLarge(f"the body is longer than {self._most_bytes} bytes")
