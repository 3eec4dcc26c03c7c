"""From headers to a body: who may send how much, checked before anything is read.

Remote write and pushes share these limits: they share the memory and the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from ingest.auth.access import WRITE, Access
from ingest.auth.authenticator import Authenticator
from ingest.errors import PayloadTooLarge, Unavailable
from ingest.http.write_metrics import BODY_BYTES
from ingest.intake.limits import over_limit
from ingest.intake.rates import Rates
from ingest.intake.steps import Steps, in_turns
from ingest.model import Intake
from ingest.wire.encoding.zstd import LongerThanSaid
from ingest.writer.backlog import Backlog, Hold
from ingest.writer.fairness import Turns

LARGE_BYTES = 1024 * 1024
"""A message, once decompressed, that waits for its turn: only one of them is being decoded."""
READ_BYTES = 3
"""Memory of a message for each of its bytes, from its decompression until it is decoded."""


@dataclass(slots=True)
class Body:
    """The content of a request as it was sent, and who sent it.

    Attributes:
        hold: the memory that the request is reckoned to take.
    """

    access: Access
    content: bytes
    hold: Hold


class Bodies:
    """Lets requests in.

    Args:
        most_bytes: of one body, as sent.
        answer_within_seconds: every request has its answer by then, from its first byte on.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        rates: Rates,
        backlog: Backlog,
        most_bytes: int,
        answer_within_seconds: float,
    ) -> None:
        self._large = Turns()
        self._authenticator = authenticator
        self._rates = rates
        self._backlog = backlog
        self._most_bytes = most_bytes
        self._answer_within_seconds = answer_within_seconds

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
                access = await self._authenticator.admit(request.headers, request.remote, WRITE)
                self._rates.check(access.tenant_id)
                with self._backlog.hold(access.tenant_id) as hold:
                    yield Body(access, await self._read(request, hold), hold)
        except TimeoutError:
            raise Unavailable("the time for an answer is over; try again") from None

    async def decode(
        self, body: Body, length_bytes: int, most_bytes: int, steps: Callable[[int], Steps]
    ) -> Intake:
        """Decompress and decode a message. A long one waits for its turn, one tenant after the
        other, before it takes any memory; one that takes long lets others have theirs meanwhile.

        Args:
            length_bytes: what is to be expected after decompression.
            most_bytes: and what is taken.
            steps: decompresses to so many bytes and decodes.

        Raises:
            Unavailable: there is no memory for it beside the others.
            RequestError: as `steps` does.
        """
        try:
            intake = await self._decode(body, length_bytes, steps(length_bytes))
        except LongerThanSaid:
            intake = await self._decode(body, most_bytes, steps(most_bytes))
        body.hold.set(len(body.content) + intake.memory_bytes)
        return intake

    async def _decode(self, body: Body, length_bytes: int, work: Steps) -> Intake:
        memory_bytes = len(body.content) + READ_BYTES * length_bytes
        if length_bytes <= LARGE_BYTES:
            body.hold.set(memory_bytes)
            try:
                next(work)
            except StopIteration as done:
                intake: Intake = done.value
                return intake
        async with self._large.of(body.access.tenant_id):
            body.hold.set(memory_bytes)
            sent_bytes = len(body.content)
            return await in_turns(work, lambda more: body.hold.set(sent_bytes + more))

    async def _read(self, request: web.Request, hold: Hold) -> bytes:
        """What has come is held, not what may come."""
        if (request.content_length or 0) > self._most_bytes:
            raise self._too_large()
        chunks = []
        total_bytes = 0
        async for chunk in request.content.iter_any():
            total_bytes += len(chunk)
            if total_bytes > self._most_bytes:
                raise self._too_large()
            hold.set(total_bytes)
            chunks.append(chunk)
        BODY_BYTES.inc(total_bytes)
        return b"".join(chunks)

    def _too_large(self) -> PayloadTooLarge:
        over_limit("max_body_bytes")
        return PayloadTooLarge(f"the body is longer than {self._most_bytes} bytes")
