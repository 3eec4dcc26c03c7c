"""Remote write: from HTTP request to answer.

All that headers can tell is checked before the body is read. The answer 204 is given only after the
commit that holds the samples, or after they are safe in the spool.
"""

from __future__ import annotations

from prometheus_client.metrics_core import CounterMetricFamily

from ingest.admission import Admission
from ingest.errors import MethodNotAllowed
from ingest.http.context import Context
from ingest.http.reply import Reply, text_reply
from ingest.intake.remote_write import Decoder
from ingest.intake.steps import Steps
from ingest.logs import get_logger
from ingest.metrics import Tally
from ingest.model import Intake, TenantId
from ingest.remote_write import answers
from ingest.wire.encoding.body import Encoding
from ingest.wire.encoding.snappy import compress_snappy
from ingest.wire.remote_write.negotiate import Message, negotiate
from ingest.writer.spool.file import Entry, SpoolFormat
from ingest.writer.store_or_spool import StoreOrSpool

REQUESTS = Tally(
    CounterMetricFamily, "promgres_write_requests", "Write requests by status.", ("status",)
)

log = get_logger("receiver")

PROBE = "get_vm_proto_version"
FORMATS = {Message.V1: SpoolFormat.REMOTE_WRITE_1, Message.V2: SpoolFormat.REMOTE_WRITE_2}


class RemoteWrite:
    """Answers `POST /write` and its other names.

    Args:
        admission: what a request is asked before it is let in.
    """

    def __init__(self, decoder: Decoder, store: StoreOrSpool, admission: Admission) -> None:
        self._decoder = decoder
        self._store = store
        self._admission = admission

    async def store(self, context: Context) -> Reply:
        """Store a request.

        Raises:
            RequestError: it must change.
            Unavailable: not now.
        """
        request, block = context.request, b""
        message, encoding = negotiate(request.headers)

        def decode(body: bytes, payload: bytes, tenant_id: TenantId, now_us: int) -> Steps:
            """The message, which is forgotten when it is decoded but for what the spool keeps."""
            nonlocal block
            intake = yield from self._decoder.steps(message, payload, tenant_id, now_us // 1000)
            if encoding is Encoding.SNAPPY:
                block = body
            elif not intake.is_empty:
                block = compress_snappy(payload)
            return intake

        async def keep(intake: Intake, now_us: int) -> Reply:
            rejections = intake.rejections
            if not intake.is_empty:
                entry = Entry.of(intake, now_us // 1000, FORMATS[message], block)
                rejections = rejections + await self._store.keep(intake, entry)
            for rejection in rejections[: answers.REASONS_SHOWN]:
                log.info("samples rejected", samples=rejection.accounted, reason=rejection.reason)
            return answers.stored(message, intake, rejections)

        return await self._admission.admit(request, encoding, decode, keep)

    async def probe(self, context: Context) -> Reply:
        """VictoriaMetrics' senders ask whether zstd is taken here.

        Raises:
            MethodNotAllowed: it is another question.
        """
        if context.method == "GET" and context.request.query.get(PROBE) == "1":
            return text_reply("1")
        raise MethodNotAllowed(f"{context.method} is not taken here: senders POST", "POST")
