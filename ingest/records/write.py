"""Measures and events: from HTTP request to answer.

As with remote write, 201 is given only after the commit that holds all of a request, or after it is
safe in the spool.
"""

from __future__ import annotations

import time

from aiohttp import web

from ingest.admission import Bodies, Body
from ingest.auth.credentials import is_older
from ingest.errors import BadRequest, MethodNotAllowed, RequestError, Unavailable
from ingest.http.write_metrics import DECODE_SECONDS, PUSH_REQUESTS, PUSHED, SECONDS
from ingest.intake.rates import Rates
from ingest.intake.records import PushDecoder
from ingest.intake.steps import Steps
from ingest.logs import get_logger
from ingest.metrics import TenantNames
from ingest.model import Intake, RecordKind, Rejection
from ingest.records import answers as push_answers
from ingest.records.paths import kind_of
from ingest.stores import RECORDS
from ingest.wire.encoding.snappy import compress_snappy
from ingest.wire.records.body import Manner, PushRefused
from ingest.wire.records.negotiate import (
    PushEncoding,
    check_json,
    decompressed,
    expected_bytes,
    push_encoding,
)
from ingest.wire.records.spooled import write_spooled
from ingest.wire.remote_write.negotiate import Protocol
from ingest.writer.ledger import Ledger
from ingest.writer.spool.file import Entry
from ingest.writer.store_or_spool import StoreOrSpool

log = get_logger("receiver")


class PushHandler:
    """Answers `POST /api/v1/measure`, `/api/v1/event` and their other names.

    Args:
        bodies: who may send how much.
        rates: how fast each tenant may.
        names: tenants as labels.
        max_decompressed_bytes: of one body.
    """

    def __init__(
        self,
        decoder: PushDecoder,
        store: StoreOrSpool,
        ledger: Ledger,
        bodies: Bodies,
        rates: Rates,
        names: TenantNames,
        max_decompressed_bytes: int,
    ) -> None:
        self._decoder = decoder
        self._store = store
        self._ledger = ledger
        self._bodies = bodies
        self._rates = rates
        self._names = names
        self._max_decompressed_bytes = max_decompressed_bytes

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request; never raises."""
        older = is_older(request.headers)
        try:
            response = await self._answer(request, "older" if older else "today")
        except RequestError as error:
            log.info("refused", status=error.status, reason=str(error), sender=request.remote)
            response = push_answers.request_error(error, older)
        except Unavailable as error:
            response = push_answers.unavailable(error, older)
        except ConnectionResetError:
            response = push_answers.request_error(BadRequest("the connection was cut"), older)
        except Exception:
            log.exception("push failed", sender=request.remote)
            response = push_answers.unavailable(Unavailable("internal error"), older)
        PUSH_REQUESTS.labels(str(response.status)).inc()
        return response

    async def _answer(self, request: web.Request, manner: Manner) -> web.Response:
        kind = kind_of(request.path)
        if request.method != "POST" or kind is None:
            raise MethodNotAllowed(f"{request.method} is not taken here: POST, or GET to read")
        encoding = push_encoding(request.headers)
        if manner == "today":
            check_json(request.headers)  # the older API did not care
        async with self._bodies.take(request) as body:
            with SECONDS.time():
                await self._store.wait_for_room(body.access.tenant_id)
                return await self._take(body, encoding, kind, manner)

    async def _take(
        self, body: Body, encoding: PushEncoding, kind: RecordKind, manner: Manner
    ) -> web.Response:
        tenant_id = body.access.tenant_id
        started = time.perf_counter()
        now_us = time.time_ns() // 1000
        intake = await self._decode(body, encoding, kind, manner, now_us)
        body.content = b""
        self._rates.take(tenant_id, intake.received)
        self._ledger.receive(intake)
        self._count(intake)
        DECODE_SECONDS.inc(time.perf_counter() - started)
        rejections = await self._keep(intake, now_us // 1000)
        items = intake.storable - len(rejections)
        older = manner == "older"
        if rejections:
            log.info("items refused", items=len(rejections), reason=rejections[0].reason)
            return push_answers.rejected(items, rejections, older)
        return push_answers.stored(items, older)

    async def _keep(self, intake: Intake, received_ms: int) -> list[Rejection]:
        if intake.is_empty:
            return []
        items = [item for store in RECORDS for item in intake.records(store)]
        payload = compress_snappy(write_spooled(items))
        del items
        entry = Entry.of(intake, received_ms, Protocol.PUSH.value, payload)
        return await self._store.keep(intake, entry)

    async def _decode(
        self, body: Body, encoding: PushEncoding, kind: RecordKind, manner: Manner, now_us: int
    ) -> Intake:
        tenant_id, most_bytes = body.access.tenant_id, self._max_decompressed_bytes

        def steps(length_bytes: int) -> Steps:
            text = decompressed(encoding, body.content, most_bytes, length_bytes)
            return (yield from self._decoder.steps(text, kind, manner, tenant_id, now_us))

        length_bytes = expected_bytes(encoding, body.content, most_bytes)
        try:
            return await self._bodies.decode(body, length_bytes, most_bytes, steps)
        except PushRefused as error:
            PUSHED.labels(self._names(tenant_id), kind, "refused").inc(error.items)
            raise

    def _count(self, intake: Intake) -> None:
        for kind in RECORDS:
            dropped = intake.dropped if kind == "measure" else 0
            if items := len(intake.records(kind)) + dropped:
                PUSHED.labels(self._names(intake.tenant_id), kind, "received").inc(items)
