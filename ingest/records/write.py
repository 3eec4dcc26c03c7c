"""Storing records: from HTTP request to answer, and handing them on from the read port.

As with remote write, 201 is given only after the commit that holds all of a request, or after it is
safe in the spool.
"""

from __future__ import annotations

from prometheus_client.metrics_core import CounterMetricFamily

from ingest.admission import Admission
from ingest.auth.credentials import is_legacy
from ingest.errors import MethodNotAllowed
from ingest.http.context import Context
from ingest.http.reply import Reply
from ingest.intake.records import RecordDecoder
from ingest.intake.steps import Steps
from ingest.logs import get_logger
from ingest.metrics import Tally, TenantNames
from ingest.model import Intake, TenantId
from ingest.records import answers
from ingest.records.paths import RECORD_PATHS
from ingest.stores import RECORDS
from ingest.wire.encoding.snappy import compress_snappy
from ingest.wire.records.body import RecordsRefused
from ingest.wire.records.negotiate import check_json, content_encoding
from ingest.wire.records.spooled import write_spooled
from ingest.writer.spool.file import Entry, SpoolFormat
from ingest.writer.store_or_spool import StoreOrSpool

REQUESTS = Tally(
    CounterMetricFamily,
    "promgres_push_requests",
    "Requests with measures and events by status.",
    ("status",),
)
COUNTED = Tally(
    CounterMetricFamily,
    "promgres_pushed",
    "Measures and events: received (what became of them is counted with samples), or rejected with"
    " their request.",
    ("tenant", "kind", "result"),
)

log = get_logger("receiver")


class WriteRecords:
    """Answers `POST /api/v1/measure`, `/api/v1/event` and their other names.

    Args:
        admission: what a request is asked before it is let in.
        names: tenants as labels.
    """

    def __init__(
        self,
        decoder: RecordDecoder,
        store: StoreOrSpool,
        admission: Admission,
        names: TenantNames,
    ) -> None:
        self._decoder = decoder
        self._store = store
        self._admission = admission
        self._names = names

    async def store(self, context: Context) -> Reply:
        """Store a request, all of it or nothing.

        Raises:
            RequestError: it must change.
            Unavailable: not now.
        """
        kind = RECORD_PATHS[context.path]
        if context.method != "POST":
            message = f"{context.method} is not taken here: POST, or GET to read"
            raise MethodNotAllowed(message, "GET, HEAD, POST")
        request, legacy = context.request, is_legacy(context.request.headers)
        encoding = content_encoding(request.headers)
        if not legacy:
            # the legacy API did not care
            check_json(request.headers.get("Content-Type", "application/json"))

        def decode(_: bytes, text: bytes, tenant_id: TenantId, now_us: int) -> Steps:
            steps = self._decoder.steps(text, kind, legacy, tenant_id, now_us)
            try:
                return (yield from steps)
            except RecordsRefused as error:
                COUNTED.add(error.items, self._names(tenant_id), kind, "rejected")
                raise

        async def keep(intake: Intake, now_us: int) -> Reply:
            self._count(intake)
            rejections = []
            if not intake.is_empty:
                items = [item for store in RECORDS for item in intake.records(store)]
                payload = compress_snappy(write_spooled(items))
                del items
                entry = Entry.of(intake, now_us // 1000, SpoolFormat.RECORDS, payload)
                rejections = await self._store.keep(intake, entry)
            if rejections:
                log.info("items rejected", items=len(rejections), reason=rejections[0].reason)
            return answers.stored(intake.storable - len(rejections), rejections, legacy)

        return await self._admission.admit(request, encoding, decode, keep)

    def _count(self, intake: Intake) -> None:
        for kind in RECORDS:
            dropped = intake.dropped if kind == "measure" else 0
            if items := len(intake.records(kind)) + dropped:
                COUNTED.add(items, self._names(intake.tenant_id), kind, "received")
