"""Write spooled requests back, in order, as soon as the database takes them."""

from __future__ import annotations

import asyncio

from ingest.errors import PromgresError, Unavailable
from ingest.intake.decoder import Decoder
from ingest.logs import get_logger
from ingest.model import Rejection
from ingest.wire.compression import decompress_snappy
from ingest.writer.accounts import Accounts
from ingest.writer.spool import Spool
from ingest.writer.spool_file import Entry
from ingest.writer.ticket import Ticket
from ingest.writer.writers import Writers

log = get_logger("spool")

REQUESTS_AT_ONCE = 32
TRY_AGAIN_SECONDS = 1.0


class Drainer:
    """Replays are harmless: what was written before is a duplicate now."""

    def __init__(
        self,
        spool: Spool,
        decoder: Decoder,
        writers: Writers,
        accounts: Accounts,
        max_payload_bytes: int,
    ) -> None:
        self._spool = spool
        self._decoder = decoder
        self._writers = writers
        self._accounts = accounts
        self._max_payload_bytes = max_payload_bytes

    async def drain(self) -> int:
        """Write the oldest requests back; how many left the spool.

        Returns:
            0 if there are none, or the database does not take them.
        """
        if self._spool.empty:
            return 0
        entries = await self._spool.first(1 if self._spool.away else REQUESTS_AT_ONCE)
        outcomes = await asyncio.gather(*[self._replay(entry) for entry in entries])
        done = [
            (entry, rejections)
            for entry, rejections in zip(entries, outcomes, strict=True)
            if rejections is not None
        ]
        refused = [
            (entry, rejection.reason, rejection.samples)
            for entry, rejections in done
            for rejection in rejections
        ]
        if done:
            await self._spool.remove([entry for entry, _ in done], refused)
            self._note_return()
        return len(done)

    def _note_return(self) -> None:
        if self._spool.away:
            log.info("the database is back: writing spooled requests")
            self._spool.away = False
        if self._spool.empty:
            log.info("the spool is empty")

    async def _replay(self, entry: Entry) -> list[Rejection] | None:
        """What the database rejected of a request; None if the request has to stay."""
        self._accounts.unspool(entry.tenant_id, entry.samples)
        ticket = Ticket(entry.samples)
        try:
            rejections = await self._write(entry, ticket)
        except Unavailable:
            self._accounts.spool(entry.tenant_id, ticket.undecided)
            if ticket.undecided != entry.samples:
                await self._spool.settle(entry, entry.samples - ticket.undecided)
            return None
        self._accounts.settle(entry.tenant_id, "dropped", ticket.undecided)
        return rejections

    async def _write(self, entry: Entry, ticket: Ticket) -> list[Rejection]:
        """Decode as at the time of the request, then write. Routing rules may have changed since:
        what they drop now stays undecided."""
        try:
            payload = decompress_snappy(entry.payload, self._max_payload_bytes)
            intake = self._decoder.decode_v1(payload, entry.tenant_id, entry.received_ms)
        except PromgresError as error:
            ticket.undecided = 0
            self._accounts.settle(entry.tenant_id, "rejected", entry.samples)
            return [Rejection(f"spooled request cannot be read: {error}", entry.samples)]
        return await self._writers.write(
            intake, ticket, settled=max(0, intake.storable - entry.samples)
        )
