"""A Prometheus, by remote read: a period at a time, as samples, which every server of the protocol
answers; what comes is decoded like remote write. And the text of `promtool tsdb dump`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from struct import unpack
from typing import BinaryIO

import aiohttp

from ingest.errors import BadRequest, OperatorError
from ingest.intake.remote_write import Decoder
from ingest.labeltext import parse_labels
from ingest.model import STALE_MARKER_BITS, Intake, TenantId
from ingest.moving.target import PATIENCE_SECONDS, Again, Part, Target, Tell
from ingest.wire.remote_read import Matcher, decode_answer, encode_read, encode_series
from ingest.wire.remote_write.negotiate import Message

SAMPLES_AT_ONCE = 200_000
FIRST_MS, SHORTEST_MS, LONGEST_MS = 60_000, 1_000, 86_400_000
LONGEST_EMPTY_MS = 7_200_000
"""After periods without samples: the first one that has some is not to be larger than an answer."""
MOST_BYTES = 256 * 1024 * 1024
READ_SECONDS = 300.0
HEADERS = {
    "Content-Encoding": "snappy",
    "Accept-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Read-Version": "0.1.0",
    "User-Agent": "promgres-import",
}
_RETENTION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_UNIT_SECONDS = (365 * 86_400, 7 * 86_400, 86_400, 3600, 60, 1)
STALE: float = unpack("<d", STALE_MARKER_BITS.to_bytes(8, "little"))[0]


class TooMuch(Exception):
    """An answer would be too large: ask for less at once."""


@dataclass(frozen=True)
class Prometheus:
    """A server to read from.

    Attributes:
        url: its root, without credentials.
    """

    url: str
    session: aiohttp.ClientSession

    async def oldest_ms(self) -> int:
        """The oldest sample that it may have, by the retention that it says.

        Raises:
            OperatorError: it says none.
        """
        try:
            async with self.session.get(f"{self.url}/api/v1/status/runtimeinfo") as answer:
                said = (await answer.json())["data"]["storageRetention"].split(" or ")[0]
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, AttributeError):
            said = ""
        found = _RETENTION.fullmatch(said)
        if not said or found is None:
            raise OperatorError(f"{self.url} does not say how long it keeps samples: give --from")
        seconds = sum(
            int(number or 0) * unit
            for number, unit in zip(found.groups(), _UNIT_SECONDS, strict=True)
        )
        return (int(time.time()) - seconds) * 1000

    async def read(
        self, selectors: Sequence[Sequence[Matcher]], first_ms: int, last_ms: int
    ) -> list[bytes]:
        """Samples of a period, both ends included; for each selector a WriteRequest.

        Raises:
            TooMuch: the period has more than an answer may.
            OperatorError: it refuses, or does not answer for a minute.
        """
        body = encode_read(selectors, first_ms, last_ms)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                async with self.session.post(f"{self.url}/api/v1/read", data=body) as answer:
                    content = await answer.content.read(MOST_BYTES + 1)
                    while len(content) <= MOST_BYTES and (
                        more := await answer.content.read(MOST_BYTES)
                    ):
                        content += more
                if answer.status == 200:
                    return self._decoded(content, len(selectors))
                self._refuse(answer.status, content)
                problem = f"answers {answer.status}: {_shortened(content)}"
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"does not answer: {error or type(error).__name__}"
            if time.monotonic() > deadline:
                raise OperatorError(f"{self.url} {problem}; the same command goes on")
            await asyncio.sleep(1)

    def _decoded(self, content: bytes, queries: int) -> list[bytes]:
        if len(content) > MOST_BYTES:
            raise TooMuch
        try:
            results = decode_answer(content, MOST_BYTES)
        except BadRequest as error:
            if "declares" in str(error) and "corrupt" not in str(error):
                raise TooMuch from None
            raise OperatorError(f"{self.url}: {error}") from None
        if len(results) != queries:
            raise OperatorError(f"{self.url} answers {len(results)} of {queries} queries")
        return results

    def _refuse(self, status: int, content: bytes) -> None:
        """End at an answer that will be the same next time."""
        text = _shortened(content)
        if status in (400, 413, 422) and ("limit" in text or "exceed" in text or status == 413):
            raise TooMuch
        if 400 <= status < 500 and status not in (408, 429):
            hint = {
                401: ": give --token, or user and password in the URL",
                404: ": is it its root?",
            }
            raise OperatorError(
                f"{self.url}/api/v1/read answers {status}{hint.get(status, '')} ({text})"
            )


async def import_prometheus(
    server: Prometheus,
    selectors: Sequence[Sequence[Matcher]],
    period_ms: tuple[int, int],
    target: Target,
    tenant_id: TenantId,
    part: Part,
    tell: Tell,
) -> None:
    """Import all samples of a period, oldest first; while some are written, the next are read.

    Args:
        period_ms: from and to, the end left out.
    """
    decoder = Decoder(target.router, target.cache, target.limits)
    start_ms, end_ms = period_ms
    at_ms = int(part.position) if part.position is not None else start_ms
    span_ms = FIRST_MS
    writing: asyncio.Task[None] | None = None

    async def decode(payload: bytes, now_ms: int) -> Intake:
        return decoder.decode(Message.V1, payload, tenant_id, now_ms)

    async def write(intakes: Sequence[tuple[Intake, Again]], until_ms: int) -> None:
        for intake, again in intakes:
            await target.store(intake, part.report, again)
        await target.save(tenant_id, part, str(until_ms))
        tell(part.title, (until_ms - start_ms) / max(1, end_ms - start_ms))

    try:
        while at_ms < end_ms:
            until_ms = min(at_ms + span_ms, end_ms)
            try:
                payloads = await server.read(selectors, at_ms, until_ms - 1)
            except TooMuch:
                if span_ms <= SHORTEST_MS:
                    raise OperatorError(
                        f"{server.url} has more samples in a second than it answers at once:"
                        " select some with --match"
                    ) from None
                span_ms = max(SHORTEST_MS, span_ms // 4)
                continue
            if writing is not None:
                await writing  # ids that it learned are known to the next one
            now_ms = time.time_ns() // 1_000_000
            decoded = [partial(decode, payload, now_ms) for payload in payloads]
            intakes = [(await each(), each) for each in decoded]
            writing = asyncio.create_task(write(intakes, until_ms))
            at_ms = until_ms
            samples = sum(intake.received for intake, _ in intakes)
            change = min(2.0, max(0.25, SAMPLES_AT_ONCE / max(1, samples)))
            longest_ms = LONGEST_MS if samples else max(span_ms, LONGEST_EMPTY_MS)
            span_ms = max(SHORTEST_MS, min(longest_ms, int(span_ms * change)))
        if writing is not None:
            await writing
    finally:
        if writing is not None:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
    await target.save(tenant_id, part, str(max(at_ms, end_ms)))


async def import_dump(
    file: BinaryIO,
    size_bytes: int | None,
    target: Target,
    tenant_id: TenantId,
    part: Part,
    tell: Tell,
) -> None:
    """Import the text of `promtool tsdb dump`: a sample a line, series after series.

    Args:
        size_bytes: of a file that can be read from any place; None of a stream.

    Raises:
        OperatorError: a line is none of such a dump's; all before it is stored.
    """
    decoder = Decoder(target.router, target.cache, target.limits)

    async def decode(payload: bytes) -> Intake:
        return decoder.decode(Message.V1, payload, tenant_id, time.time_ns() // 1_000_000)

    at = int(part.position) if part.position is not None and size_bytes is not None else 0
    if at:
        file.seek(at)
    for payload, ends_at, histograms in _dumped(file, at):
        decoded = partial(decode, payload)
        await target.store(await decoded(), part.report, decoded)
        part.report.read += histograms
        part.report.leave_out("native histograms, which a dump has not in full", histograms)
        await target.save(tenant_id, part, str(ends_at))
        tell(part.title, ends_at / size_bytes if size_bytes else None)


def _dumped(file: BinaryIO, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Messages of some samples each, where their last line ends, and how many native histograms
    were among them. NaN is taken for a stale marker, which a dump does not tell from it, and which
    nearly all are."""
    series: list[tuple[list[tuple[bytes, bytes]], list[tuple[int, float]]]] = []
    text, samples = b"", list[tuple[int, float]]()  # of the series that the last line was of
    taken = histograms = 0
    for line in file:
        head, _, moment = line.rstrip().rpartition(b" ")
        labels, _, number = head.rpartition(b" ")
        try:
            timestamp_ms, value = int(moment), float(number)
        except ValueError:
            if line.strip() and b"} {" not in line:
                raise _no_line(line, at) from None
            histograms += bool(line.strip())
            at += len(line)
            continue
        if labels != text:
            if not (labels.startswith(b"{") and labels.endswith(b"}")):
                raise _no_line(line, at)
            text, samples = labels, []
            series.append((parse_labels(labels.decode(errors="surrogateescape")), samples))
        samples.append((timestamp_ms, value if value == value else STALE))
        at += len(line)
        taken += 1
        if taken == SAMPLES_AT_ONCE // 2:
            yield encode_series(series), at, histograms
            series, text, taken, histograms = [], b"", 0, 0
    yield encode_series(series), at, histograms


def _no_line(line: bytes, at: int) -> OperatorError:
    return OperatorError(
        f"byte {at}: {_shortened(line)!r} is no line of `promtool tsdb dump`, such as"
        ' {__name__="up", job="x"} 1 1700000000000'
    )


def _shortened(content: bytes) -> str:
    text = " ".join(content[:400].decode(errors="replace").split())
    return text if len(text) <= 120 else text[:119] + "…"
