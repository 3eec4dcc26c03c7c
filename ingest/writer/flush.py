"""Write the parts that wait for one target: one transaction, culprits of a refusal singled out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ingest.errors import Unavailable
from ingest.logs import get_logger
from ingest.model import Rejection, Rows
from ingest.storage.database import DATABASE_ERRORS, Database, unavailable
from ingest.storage.engine import Engine
from ingest.storage.pgerrors import Verdict, verdict_of
from ingest.writer.accounts import Accounts
from ingest.writer.batch import Batch, merge
from ingest.writer.copy import encode_rows
from ingest.writer.metrics import BATCH_ROWS, COPY_SECONDS
from ingest.writer.ticket import Ticket

log = get_logger("writer")

RETRIES = 5
DAY_MS = 86_400_000


@dataclass(slots=True)
class Part:
    """Rows of one request for one target."""

    tenant_id: int
    target: str
    rows: Rows
    ticket: Ticket


@dataclass(slots=True)
class TenantBatch:
    """One tenant's share of a transaction, and the parts that it came from."""

    tenant_id: int
    parts: list[Part]
    batch: Batch


class Flusher:
    """Takes parts of one target to the database and settles every one of them."""

    def __init__(self, database: Database, engine: Engine, accounts: Accounts) -> None:
        self._database = database
        self._engine = engine
        self._accounts = accounts

    async def flush(self, target: str, parts: list[Part]) -> None:
        """One transaction, a COPY for each tenant. Every ticket is told, whatever happens."""
        shares = _by_tenant(parts)
        try:
            counts = await self._copy(target, [share.batch for share in shares])
        except DATABASE_ERRORS as error:
            if verdict_of(error) is Verdict.REJECT:
                for share in shares:
                    await self._isolate(target, share)
            else:
                self._fail(target, shares, unavailable(error), error)
        except Exception as error:  # a defect of ours must not leave senders waiting
            log.exception("batch failed", target=target)
            self._fail(target, shares, Unavailable("internal error"), error)
        else:
            for share, new_rows in zip(shares, counts, strict=True):
                self._settle(share.tenant_id, share.batch, new_rows)
                _settle_tickets(share)

    async def _copy(self, target: str, batches: Sequence[Batch]) -> list[int]:
        payloads = [encode_rows(batch.rows) for batch in batches]
        for attempt in range(RETRIES + 1):
            try:
                for batch in batches:
                    await self._prepare(target, batch)
                with COPY_SECONDS.labels(target).time():
                    counts = await self._database.copy_samples(target, payloads)
                break
            except DATABASE_ERRORS as error:
                if attempt == RETRIES or verdict_of(error) is not Verdict.RETRY:
                    raise
                self._engine.forget(target)
                log.info("batch tried again", target=target, reason=str(error))
        BATCH_ROWS.labels(target).observe(sum(len(batch) for batch in batches))
        return counts

    async def _prepare(self, target: str, batch: Batch) -> None:
        """Have the partitions of these rows made, and none in between."""
        for first, last in runs_of_days(batch.rows):
            await self._engine.prepare(
                self._database.pool, target, first * DAY_MS, (last + 1) * DAY_MS - 1
            )

    async def _isolate(self, target: str, share: TenantBatch) -> None:
        """Write a batch that holds a row the database will never take: all but the culprits."""
        failures: dict[int, Unavailable] = {}
        pending = [share.batch]
        while pending:
            piece = pending.pop()
            try:
                [new_rows] = await self._copy(target, [piece])
            except DATABASE_ERRORS as error:
                if verdict_of(error) is not Verdict.REJECT:
                    failures.update(dict.fromkeys(piece.origin.tolist(), unavailable(error)))
                    self._accounts.settle(share.tenant_id, "refused", len(piece) + piece.repeated)
                elif len(piece) > 1:
                    pending += reversed(piece.halves())
                else:
                    self._reject(share, piece, error)
            else:
                self._settle(share.tenant_id, piece, new_rows)
        _settle_tickets(share, failures)

    def _reject(self, share: TenantBatch, piece: Batch, error: BaseException) -> None:
        reason = f"the database refuses series {int(piece.rows.series_id[0])}: {error}"
        ticket = share.parts[int(piece.origin[0])].ticket
        ticket.rejections.append(Rejection(reason, 1))
        self._accounts.settle(share.tenant_id, "rejected", 1)
        self._accounts.settle(share.tenant_id, "duplicate", piece.repeated)

    def _fail(
        self, target: str, shares: list[TenantBatch], failure: Unavailable, error: BaseException
    ) -> None:
        log.warning("batch not written", target=target, reason=str(failure), error=str(error))
        for share in shares:
            rows = len(share.batch) + share.batch.repeated
            self._accounts.settle(share.tenant_id, "refused", rows)
            _settle_tickets(share, dict.fromkeys(range(len(share.parts)), failure))

    def _settle(self, tenant_id: int, batch: Batch, new_rows: int) -> None:
        duplicates = len(batch) - new_rows + batch.repeated
        self._accounts.settle(tenant_id, "written", new_rows)
        self._accounts.settle(tenant_id, "duplicate", duplicates)


def _by_tenant(parts: list[Part]) -> list[TenantBatch]:
    by_tenant: dict[int, list[Part]] = {}
    for part in parts:
        by_tenant.setdefault(part.tenant_id, []).append(part)
    return [
        TenantBatch(tenant_id, mine, merge([part.rows for part in mine]))
        for tenant_id, mine in by_tenant.items()
    ]


def _settle_tickets(share: TenantBatch, failures: dict[int, Unavailable] | None = None) -> None:
    for index, part in enumerate(share.parts):
        failure = (failures or {}).get(index)
        if failure is None:
            part.ticket.settle()
        else:
            part.ticket.fail(failure)


def runs_of_days(rows: Rows) -> list[tuple[int, int]]:
    """First and last day (since 1970, UTC) of each run of consecutive days with rows."""
    days = np.unique(rows.timestamp_ms // DAY_MS)
    if not len(days):
        return []
    cuts = np.flatnonzero(np.diff(days) > 1)
    firsts = days[np.concatenate([[0], cuts + 1])]
    lasts = days[np.concatenate([cuts, [len(days) - 1]])]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]
