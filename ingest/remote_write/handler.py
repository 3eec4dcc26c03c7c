"""Remote write: from HTTP request to answer.

All that headers can tell is checked before the body is read. The answer 204 is given only after the
commit that holds the samples, or after they are safe in the spool.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from aiohttp import web

from ingest.admission import Bodies, Body
from ingest.errors import BadRequest, MethodNotAllowed, RequestError, Unavailable
from ingest.http.write_metrics import DECODE_SECONDS, REQUESTS, SECONDS
from ingest.intake.rates import Rates
from ingest.intake.remote_write import Decoder
from ingest.intake.steps import Steps
from ingest.logs import get_logger
from ingest.model import Counts, Rejection
from ingest.remote_write import answers
from ingest.wire.encoding.snappy import compress_snappy, decompress, expected_bytes
from ingest.wire.remote_write.negotiate import Encoding, Negotiated, Protocol, negotiate
from ingest.writer.ledger import Ledger
from ingest.writer.spool.file import Entry
from ingest.writer.store_or_spool import StoreOrSpool

log = get_logger("receiver")

PROBE = "get_vm_proto_version"


class WriteHandler:
    """Answers `POST /write` and its other names.

    Args:
        bodies: who may send how much.
        rates: how fast each tenant may.
        max_decompressed_bytes: of one message.
    """

    def __init__(
        self,
        decoder: Decoder,
        store: StoreOrSpool,
        ledger: Ledger,
        bodies: Bodies,
        rates: Rates,
        max_decompressed_bytes: int,
    ) -> None:
        self._decoder = decoder
        self._store = store
        self._ledger = ledger
        self._bodies = bodies
        self._rates = rates
        self._max_decompressed_bytes = max_decompressed_bytes

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request; never raises."""
        try:
            if request.method == "POST":
                response = await self._answer(request, negotiate(request.headers))
            else:
                response = self._answer_probe(request)
        except RequestError as error:
            response = _refused(request, error)
        REQUESTS.labels(str(response.status)).inc()
        return response

    async def _answer(self, request: web.Request, negotiated: Negotiated) -> web.Response:
        """Answer a request of a kind that is taken. From here on 2.0 hears what was written."""
        written = Counts()
        try:
            async with self._bodies.take(request) as body:
                with SECONDS.time():
                    response, written = await self._take(body, negotiated)
        except RequestError as error:
            response = _refused(request, error)
        except Unavailable as error:
            response = answers.unavailable(error)
        except ConnectionResetError:
            response = answers.request_error(BadRequest("the connection was cut"))
        except Exception:
            log.exception("write request failed", sender=request.remote)
            response = answers.unavailable(Unavailable("internal error"))
        if negotiated.protocol is Protocol.V2:
            answers.add_written(response, written)
        return response

    def _answer_probe(self, request: web.Request) -> web.Response:
        """VictoriaMetrics' senders ask whether zstd is taken here."""
        if request.method == "GET" and request.query.get(PROBE) == "1":
            return web.Response(text="1")
        raise MethodNotAllowed(f"{request.method} is not taken here: senders POST")

    async def _take(self, body: Body, negotiated: Negotiated) -> tuple[web.Response, Counts]:
        tenant_id = body.access.tenant_id
        await self._store.wait_for_room(tenant_id)
        started = time.perf_counter()
        received_ms = time.time_ns() // 1_000_000
        protocol, encoding = negotiated
        most_bytes = self._max_decompressed_bytes
        block = b""

        def steps(length_bytes: int) -> Steps:
            """The message, which is forgotten when it is decoded but for what the spool keeps."""
            nonlocal block
            payload = decompress(encoding, body.content, most_bytes, length_bytes)
            intake = yield from self._decoder.steps(protocol, payload, tenant_id, received_ms)
            if encoding is Encoding.SNAPPY:
                block = body.content
            elif not intake.is_empty:
                block = compress_snappy(payload)
            return intake

        length_bytes = expected_bytes(encoding, body.content, most_bytes)
        intake = await self._bodies.decode(body, length_bytes, most_bytes, steps)
        body.content = b""
        self._rates.take(intake.tenant_id, intake.received)
        self._ledger.receive(intake)
        DECODE_SECONDS.inc(time.perf_counter() - started)
        rejections = intake.rejections
        if not intake.is_empty:
            kept = self._store.keep(intake, Entry.of(intake, received_ms, protocol.value, block))
            rejections = rejections + await kept
        written = intake.written(rejections)
        if rejections:
            _log_rejections(rejections)
            return answers.rejected(rejections, intake.sent), written
        return answers.no_content(), written


def _refused(request: web.Request, error: RequestError) -> web.Response:
    log.info("refused", status=error.status, reason=str(error), sender=request.remote)
    return answers.request_error(error)


def _log_rejections(rejections: Sequence[Rejection]) -> None:
    for rejection in rejections[: answers.REASONS_SHOWN]:
        log.info("samples refused", samples=rejection.accounted, reason=rejection.reason)
