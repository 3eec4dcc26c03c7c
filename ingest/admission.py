"""All that a write is asked before it is let in, in this order; what it holds meanwhile.

1. A key with scope `write`, or none where none is needed     KeyRefused, 401 or 403
2. Its tenant is not in debt                                  OverQuota
3. There is memory for it beside the others                   Unavailable
4. Its body is not too long, as announced and as it comes     PayloadTooLarge, 413
5. There is room among the samples that wait to be written    waits, then Unavailable
6. The body is not too long once decompressed                 BadRequest
7. What its decoder checks                                    BadRequest
8. Its tenant is not in debt, again: then its samples count   OverQuota

Remote write and records share all of it: they share the memory and the database. What of a request
its headers alone decide (method, media type, compression) its API has looked at before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from prometheus_client.metrics_core import CounterMetricFamily

from ingest.auth.access import WRITE
from ingest.auth.authenticator import Authenticator
from ingest.config import ReceiverSettings
from ingest.errors import BadRequest, PayloadTooLarge, Unavailable
from ingest.http.bodies import read_pieces
from ingest.intake.limits import over_limit
from ingest.intake.rates import RateLimiter
from ingest.intake.steps import Steps, in_turns
from ingest.metrics import Spread, Tally
from ingest.model import Intake, TenantId
from ingest.storage.turns import Turns
from ingest.wire.encoding.body import Encoding, decompress, expected_bytes
from ingest.wire.encoding.gzip import TooLong
from ingest.wire.encoding.zstd import LongerThanSaid
from ingest.writer.backlog import Backlog, Hold
from ingest.writer.ledger import Ledger

SECONDS = Spread(
    "promgres_write_request_seconds",
    "From the last byte of a write request to its answer.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25),
)
BODY_BYTES = Tally(
    CounterMetricFamily, "promgres_write_body_bytes", "Compressed bytes received.", ()
)
DECODE_SECONDS = Tally(
    CounterMetricFamily,
    "promgres_decode_seconds",
    "Time spent on decompress, decode, identify and route.",
    (),
)

LARGE_BYTES = 1024 * 1024
"""A message, once decompressed, that waits for its turn: only one of them is being decoded."""
READ_BYTES = 3
"""Memory of a message for each of its bytes, from its decompression until it is decoded."""

T = TypeVar("T")

Decode = Callable[[bytes, bytes, TenantId, int], Steps]
"""Decodes a body: as it was sent, decompressed, its tenant's id, and when it came (microseconds
since 1970)."""


class Admission:
    """Lets writes in.

    Args:
        rates: how fast each tenant may send.
        backlog: the memory that they share, and the room before the writers.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        rates: RateLimiter,
        backlog: Backlog,
        ledger: Ledger,
        settings: ReceiverSettings,
    ) -> None:
        self._large = Turns(1)
        self._authenticator = authenticator
        self._rates = rates
        self._backlog = backlog
        self._ledger = ledger
        self._settings = settings

    async def admit(
        self,
        request: web.BaseRequest,
        encoding: Encoding,
        decode: Decode,
        store: Callable[[Intake, int], Awaitable[T]],
    ) -> T:
        """What becomes of a request that is let in.

        Args:
            store: is given it once it is decoded and counted, and when its body had come
                (microseconds since 1970). That, too, has to end in time.

        Raises:
            KeyRefused: it brings no key, or one that does not allow to write.
            PayloadTooLarge: the body is too long.
            BadRequest: the body cannot be taken.
            OverQuota: its tenant has had its share.
            Unavailable: too much is under way, or the time for an answer is over.
        """
        try:
            async with asyncio.timeout(self._settings.answer_timeout_seconds):
                access = await self._authenticator.admit(request.headers, request.remote, WRITE)
                tenant_id = access.tenant_id
                is_limited = self._rates.check(tenant_id)
                with self._backlog.hold(tenant_id) as hold:
                    body = await read_pieces(request, self._settings.max_body_bytes, hold.set)
                    BODY_BYTES.add(len(body))
                    come = time.perf_counter()
                    try:
                        await self._backlog.wait_for_room(tenant_id)
                        started, now_us = time.perf_counter(), time.time_ns() // 1000
                        intake = await self._decode(body, encoding, decode, tenant_id, now_us, hold)
                        del body
                        if is_limited:
                            self._rates.take(tenant_id, intake.received)
                        self._ledger.receive(intake)
                        DECODE_SECONDS.add(time.perf_counter() - started)
                        return await store(intake, now_us)
                    finally:
                        SECONDS.observe(time.perf_counter() - come)
        except TooLong:
            over_limit("max_body_bytes")
            message = f"the body is longer than {self._settings.max_body_bytes} bytes"
            raise PayloadTooLarge(message) from None
        except TimeoutError:
            raise Unavailable("the time for an answer is over; try again") from None
        except ConnectionResetError:
            raise BadRequest("the connection was cut") from None

    async def _decode(
        self,
        body: bytes,
        encoding: Encoding,
        decode: Decode,
        tenant_id: TenantId,
        now_us: int,
        hold: Hold,
    ) -> Intake:
        """Decompress and decode. A long message waits for its turn, one tenant after the other,
        before it takes any memory; one that takes long lets others have theirs meanwhile."""
        most_bytes, sent_bytes = self._settings.max_decompressed_bytes, len(body)

        def steps(length_bytes: int) -> Steps:
            payload = decompress(encoding, body, most_bytes, length_bytes)
            return (yield from decode(body, payload, tenant_id, now_us))

        for length_bytes in (expected_bytes(encoding, body, most_bytes), most_bytes):
            memory_bytes, work = sent_bytes + READ_BYTES * length_bytes, steps(length_bytes)
            try:
                if length_bytes <= LARGE_BYTES:
                    hold.set(memory_bytes)
                    try:
                        next(work)
                    except StopIteration as done:
                        intake: Intake = done.value
                        break
                async with self._large.of(tenant_id):
                    hold.set(memory_bytes)
                    intake = await in_turns(work, lambda more: hold.set(sent_bytes + more))
                break
            except LongerThanSaid:
                continue
        hold.set(sent_bytes + intake.memory_bytes)
        return intake
