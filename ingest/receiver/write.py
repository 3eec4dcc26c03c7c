"""Remote write: from HTTP request to answer.

All that headers can tell is checked before the body is read. The answer 204 is given only after the
commit that holds the samples.
"""

from __future__ import annotations

import time

from aiohttp import web

from ingest.errors import (
    BadRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    RequestError,
    Unavailable,
)
from ingest.intake.decoder import Decoder
from ingest.logs import get_logger
from ingest.model import DEFAULT_TENANT_ID, Intake
from ingest.receiver import answers
from ingest.receiver.metrics import BODY_BYTES, DECODE_SECONDS, REQUESTS, SECONDS
from ingest.wire.compression import decompress
from ingest.wire.negotiate import Encoding, check_content_type, content_encoding
from ingest.writer.accounts import Accounts
from ingest.writer.writers import Writers

log = get_logger("receiver")

PROBE = "get_vm_proto_version"


class WriteHandler:
    """Answers `POST /write` and its other names."""

    def __init__(
        self,
        decoder: Decoder,
        writers: Writers,
        accounts: Accounts,
        max_body_bytes: int,
        max_decompressed_bytes: int,
    ) -> None:
        self._decoder = decoder
        self._writers = writers
        self._accounts = accounts
        self._max_body_bytes = max_body_bytes
        self._max_decompressed_bytes = max_decompressed_bytes

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request; never raises."""
        try:
            response = await self._answer(request)
        except RequestError as error:
            log.info("refused", status=error.status, reason=str(error), sender=request.remote)
            response = answers.request_error(error)
        except Unavailable as error:
            response = answers.unavailable(error)
        except ConnectionResetError:
            response = answers.request_error(BadRequest("the connection was cut"))
        except Exception:
            log.exception("write request failed", sender=request.remote)
            response = answers.unavailable(Unavailable("internal error"))
        REQUESTS.labels(str(response.status)).inc()
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return self._answer_probe(request)
        check_content_type(request.headers.get("Content-Type"))
        encoding = content_encoding(request.headers.get("Content-Encoding"))
        length_bytes = request.content_length
        if length_bytes is not None and length_bytes > self._max_body_bytes:
            raise self._too_large()
        expected_bytes = self._max_body_bytes if length_bytes is None else length_bytes
        with self._writers.backlog.body(expected_bytes):
            body = await self._read(request)
            started = time.perf_counter()
            await self._writers.backlog.wait_for_room()
            intake = self._decode(body, encoding)
        del body
        with SECONDS.time():
            response = await self._store(intake)
        log.debug("answered", status=response.status, seconds=time.perf_counter() - started)
        return response

    def _answer_probe(self, request: web.Request) -> web.Response:
        """VictoriaMetrics' senders ask whether zstd is taken here."""
        if request.method == "GET" and request.query.get(PROBE) == "1":
            return web.Response(text="1")
        raise MethodNotAllowed(f"{request.method} is not taken here: senders POST")

    async def _read(self, request: web.Request) -> bytes:
        chunks = []
        total_bytes = 0
        async for chunk in request.content.iter_any():
            total_bytes += len(chunk)
            if total_bytes > self._max_body_bytes:
                raise self._too_large()
            chunks.append(chunk)
        BODY_BYTES.inc(total_bytes)
        return b"".join(chunks)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the body is longer than {self._max_body_bytes} bytes")

    def _decode(self, body: bytes, encoding: Encoding) -> Intake:
        started = time.perf_counter()
        payload = decompress(encoding, body, self._max_decompressed_bytes)
        now_ms = time.time_ns() // 1_000_000
        intake = self._decoder.decode_v1(payload, DEFAULT_TENANT_ID, now_ms)
        DECODE_SECONDS.inc(time.perf_counter() - started)
        self._accounts.receive(intake)
        return intake

    async def _store(self, intake: Intake) -> web.Response:
        rejections = intake.rejections
        if intake.known or intake.new:
            rejections = rejections + await self._writers.write(intake)
        if rejections:
            for rejection in rejections[: answers.REASONS_SHOWN]:
                log.info("samples refused", samples=rejection.samples, reason=rejection.reason)
            return answers.rejected(rejections, intake.received)
        return answers.no_content()
