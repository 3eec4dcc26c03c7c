"""Remote write: from HTTP request to answer.

All that headers can tell is checked before the body is read. The answer 204 is given only after the
commit that holds the samples, or after they are safe in the spool.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from aiohttp import web

from ingest.errors import BadRequest, MethodNotAllowed, RequestError, Unavailable
from ingest.intake.decoder import Decoder
from ingest.intake.rates import Rates
from ingest.logs import get_logger
from ingest.model import Counts, Rejection
from ingest.receiver import answers
from ingest.receiver.bodies import Bodies
from ingest.receiver.metrics import DECODE_SECONDS, REQUESTS, SECONDS
from ingest.wire.compression import compress_snappy, decompress
from ingest.wire.negotiate import Encoding, Negotiated, Protocol, negotiate
from ingest.writer.accounts import Accounts
from ingest.writer.safekeeping import Safekeeping

log = get_logger("receiver")

PROBE = "get_vm_proto_version"
LARGE_BYTES = 4 * 1024 * 1024
"""A message of which decoding may take half a second and more."""


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
        safekeeping: Safekeeping,
        accounts: Accounts,
        bodies: Bodies,
        rates: Rates,
        max_decompressed_bytes: int,
    ) -> None:
        self._decoder = decoder
        self._safekeeping = safekeeping
        self._accounts = accounts
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
            async with self._bodies.take(request) as (access, body):
                with SECONDS.time():
                    response, written = await self._take(body, negotiated, access.tenant_id)
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

    async def _take(
        self, body: bytes, negotiated: Negotiated, tenant_id: int
    ) -> tuple[web.Response, Counts]:
        await self._safekeeping.wait_for_room()
        started = time.perf_counter()
        received_ms = time.time_ns() // 1_000_000
        protocol, encoding = negotiated
        payload = decompress(encoding, body, self._max_decompressed_bytes)
        if len(payload) > LARGE_BYTES:
            intake = await self._bodies.decode(
                self._decoder.steps(protocol, payload, tenant_id, received_ms)
            )
        else:
            intake = self._decoder.decode(protocol, payload, tenant_id, received_ms)
        self._rates.take(intake.tenant_id, intake.received)
        self._accounts.receive(intake)
        DECODE_SECONDS.inc(time.perf_counter() - started)
        if encoding is not Encoding.SNAPPY:
            body = compress_snappy(payload)
        del payload
        rejections = intake.rejections
        if not intake.is_empty:
            kept = self._safekeeping.keep(intake, received_ms, protocol, body)
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
