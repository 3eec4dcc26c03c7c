"""Spool replay: write spooled requests back, in order, as soon as the database takes them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from ingest.errors import BadRequest, PromgresError, Unavailable
from ingest.intake.records import spooled_steps
from ingest.intake.remote_write import Decoder
from ingest.intake.steps import in_turns
from ingest.logs import get_logger
from ingest.model import Intake, Rejection
from ingest.wire.encoding.body import Encoding, expected_bytes
from ingest.wire.encoding.snappy import decompress_snappy
from ingest.wire.remote_write.negotiate import Message
from ingest.writer.ledger import Ledger, PendingRequest
from ingest.writer.pipeline import Pipeline
from ingest.writer.spool.file import Entry, SpoolFormat
from ingest.writer.spool.queue import Spool

log = get_logger("spool")

MOST_AT_ONCE = 32
MOST_PUSHED_BYTES = 1024 * 1024 * 1024
"""We wrote the payload ourselves; it may be longer than its request was."""
MOST_AT_ONCE_BYTES = 32 * 1024 * 1024
"""After decompression; one alone may have more. What they become takes ten times as much memory."""
MOST_PASSED_OVER = 8
MOST_TRIES = 5
"""Of a request alone at which the database fails while it answers others. The pauses between them,
from one second on twice as long each time, are 15 seconds in all."""
ROUND_SECONDS = 0.5
"""A round that takes longer becomes smaller: new requests wait behind it, and what waits for too
long is spooled, so that the spool of a busy write side would never empty."""


@dataclass(slots=True)
class _Suspect:
    """A request that is tried alone.

    Attributes:
        tries: how often it failed while the database took others.
        commits: batches committed when it was first suspected, and what it committed itself since.
        due: when it is tried again, by the loop's clock.
    """

    commits: int
    tries: int = 0
    due: float = 0.0


class Replay:
    """Replays are harmless: what was written before is a duplicate now.

    Many requests are tried together; after a failure one alone, then twice as many each time, so
    that a database that takes only little at once (a statement timeout) takes all in the end. Never
    so many that new requests have to wait for long.

    A request that may itself be why the database fails (its connection breaks, while another one
    works) is a suspect: the others are written without it, and it is tried alone, a bounded number
    of times after the database has taken others, then set aside. While the database takes no
    request at all, none is set aside.
    """

    def __init__(
        self,
        spool: Spool,
        decoder: Decoder,
        pipeline: Pipeline,
        ledger: Ledger,
        max_payload_bytes: int,
    ) -> None:
        self._spool = spool
        self._decoder = decoder
        self._pipeline = pipeline
        self._ledger = ledger
        self._max_payload_bytes = max_payload_bytes
        self._at_once = 1
        self._passed_over = 0
        self._written: list[tuple[Entry, list[Rejection]]] = []
        self._decided: dict[int, int] = {}
        self._suspects: dict[int, _Suspect] = {}
        self._failed: dict[int, Unavailable] = {}
        self._decoding = asyncio.Lock()
        self._was_suspect = False

    async def round(self) -> int:
        """Write the oldest requests back; how many left the spool.

        Returns:
            0 if there are none, or the database does not take them.

        Raises:
            sqlite3.Error: the spool's disk fails; what is written is removed in a later round.
        """
        if self._written or self._spool.empty:
            return await self._remove() if self._written else 0
        if suspects := await self._next_suspect():
            return await self._try_alone(*suspects)
        found = await self._spool.first(self._at_once, self._passed_over, self._suspects)
        entries = affordable(await self._without_damaged(found))
        if found and not entries:
            return len(found)
        self._written = await self._write_back(entries)
        failed = [entry.id for entry in entries if entry.id in self._failed]
        if failed and await self._pipeline.reach():
            commits = self._pipeline.outcomes.commits
            self._suspects.update((entry_id, _Suspect(commits)) for entry_id in failed)
        return await self._remove() if self._written else len(failed)

    async def _next_suspect(self) -> list[Entry]:
        """One whose time has come, every other time: it holds up none of the others."""
        now = asyncio.get_running_loop().time()
        due = [entry_id for entry_id, suspect in self._suspects.items() if suspect.due <= now]
        self._was_suspect = bool(due) and not self._was_suspect
        if not self._was_suspect:
            return []
        found = await self._without_damaged(await self._spool.one(due[0]))
        if not found:
            del self._suspects[due[0]]
        return found

    async def _try_alone(self, entry: Entry) -> int:
        """One try of a suspect; whether it left the spool."""
        suspect, outcomes = self._suspects.pop(entry.id), self._pipeline.outcomes
        before = outcomes.commits
        rejections = await self._replay(entry)
        suspect.commits += outcomes.commits - before
        if rejections is not None:
            self._note_return()
            self._written = [(entry, rejections)]
            return await self._remove()
        failure = self._failed.get(entry.id)
        takes_others = outcomes.commits > suspect.commits
        if failure is not None and takes_others and await self._pipeline.reach():
            suspect.tries += 1
            if suspect.tries == MOST_TRIES:
                reason = f"the database failed at it {MOST_TRIES} times, and took others: {failure}"
                await self._set_aside(entry, reason)
                return 1
        suspect.due = asyncio.get_running_loop().time() + 2.0 ** max(0, suspect.tries - 1)
        self._suspects[entry.id] = suspect
        return 0

    async def _without_damaged(self, entries: list[Entry]) -> list[Entry]:
        """Those that are as they were written; the others would be stored as something else."""
        for entry in entries:
            if not entry.is_sound:
                await self._set_aside(entry, "the disk has changed it: its checksum is wrong")
        return [entry for entry in entries if entry.is_sound]

    async def _set_aside(self, entry: Entry, reason: str) -> None:
        """Only what nothing has become of is refused: some of it may be written."""
        samples = max(0, entry.samples - self._decided.get(entry.id, 0))
        await self._spool.set_aside(entry, samples, reason)
        self._decided.pop(entry.id, None)
        self._failed.pop(entry.id, None)
        self._ledger.replay(entry.tenant_id, samples).settle_rest("rejected")
        log.error("request set aside", id=entry.id, samples=samples, reason=reason)

    async def _write_back(self, entries: list[Entry]) -> list[tuple[Entry, list[Rejection]]]:
        """Requests that are decided to the last sample, and what the database rejected of them."""
        clock = asyncio.get_running_loop().time
        began = clock()
        outcomes = await asyncio.gather(*[self._replay(entry) for entry in entries])
        written = [
            (entry, rejections)
            for entry, rejections in zip(entries, outcomes, strict=True)
            if rejections is not None
        ]
        self._adapt(len(written), len(entries), clock() - began)
        return written

    def _adapt(self, written: int, tried: int, seconds: float) -> None:
        """More at once while all goes well. If nothing does, one at a time, and each time another
        one of the first few: what is wrong may be the oldest request, not the database."""
        if written == 0:
            self._at_once = 1
            self._passed_over = (self._passed_over + 1) % MOST_PASSED_OVER
            return
        self._note_return()
        self._passed_over = 0
        if seconds > ROUND_SECONDS:
            self._at_once = max(1, self._at_once // 2)
        elif written == tried and seconds < ROUND_SECONDS / 2:
            self._at_once = min(2 * self._at_once, MOST_AT_ONCE)

    async def _remove(self) -> int:
        removed = len(self._written)
        refused = [
            (entry, rejection.reason, rejection.accounted)
            for entry, rejections in self._written
            for rejection in rejections
        ]
        await self._spool.remove([entry for entry, _ in self._written], refused)
        for entry, _ in self._written:
            self._decided.pop(entry.id, None)
            self._failed.pop(entry.id, None)
        self._written = []
        if self._spool.empty:
            log.info("the spool is empty")
        return removed

    def _note_return(self) -> None:
        """At once: the spool's disk may be full, and new requests have to get to the database."""
        if self._spool.note_back():
            log.info("the database is back: writing spooled requests")

    async def _replay(self, entry: Entry) -> list[Rejection] | None:
        """What the database rejected of a request; None if the request has to stay.

        What an attempt decided is remembered in memory: the next process, which finds the request
        in the spool, counts all of it as received.
        """
        samples = entry.samples - self._decided.get(entry.id, 0)
        request = self._ledger.replay(entry.tenant_id, samples)
        try:
            rejections = await self._write(entry, request)
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("spooled request failed", id=entry.id)
                error = Unavailable("internal error", blames_request=True)
            self._failed.pop(entry.id, None)
            if error.blames_request:
                self._failed[entry.id] = error
            self._decided[entry.id] = entry.samples - request.undecided
            request.spool_rest()
            return None
        request.settle_rest("dropped")
        return rejections

    async def _write(self, entry: Entry, request: PendingRequest) -> list[Rejection]:
        """Decode as at the time of the request, then write. Routing rules and scripts may have
        changed since: what they drop now stays undecided, what they refuse now is rejected."""
        try:
            async with self._decoding:
                intake = await self._decode(entry)
        except (PromgresError, ValueError) as error:
            request.settle_rest("rejected")
            return [Rejection(f"spooled request cannot be read: {error}", entry.samples)]
        refused = refused_since(intake, entry.samples + entry.settled)
        to_come = intake.storable + sum(rejection.accounted for rejection in refused)
        request.count_before(max(0, to_come - request.undecided))
        request.reject(refused)
        return await self._pipeline.write(intake, request, is_replay=True)

    async def _decode(self, entry: Entry) -> Intake:
        payload_is, tenant_id = SpoolFormat(entry.protocol), entry.tenant_id
        if payload_is is SpoolFormat.RECORDS:
            text = decompress_snappy(entry.payload, MOST_PUSHED_BYTES)
            return await in_turns(spooled_steps(text, tenant_id))
        payload = decompress_snappy(entry.payload, self._max_payload_bytes)
        message = Message.V1 if payload_is is SpoolFormat.REMOTE_WRITE_1 else Message.V2
        return await in_turns(self._decoder.steps(message, payload, tenant_id, entry.received_ms))


def refused_since(intake: Intake, acknowledged: int) -> list[Rejection]:
    """What of a request is refused now, though it was acknowledged: so many samples were. What was
    refused then as well is among the rejections too, and its sender knows."""
    missing, refused = acknowledged - intake.storable, []
    for rejection in intake.rejections:
        if 0 < rejection.accounted <= missing:
            missing -= rejection.accounted
            refused.append(rejection)
    return refused


def affordable(entries: list[Entry]) -> list[Entry]:
    """The first of them, as many as may be decoded at once, and one at least."""
    left_bytes = MOST_AT_ONCE_BYTES
    for number, entry in enumerate(entries):
        with suppress(BadRequest):  # which is told when it is decoded
            left_bytes -= expected_bytes(Encoding.SNAPPY, entry.payload, MOST_PUSHED_BYTES)
        if left_bytes < 0:
            return entries[: max(1, number)]
    return entries
