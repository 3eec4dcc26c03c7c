"""Send synthetic requests as a well-behaved sender does, and count what came of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import aiohttp

from ingest.load.amounts import NOTHING, Amounts
from ingest.load.histograms import HistogramTemplate
from ingest.load.report import Report, shortfall, written
from ingest.load.requests import RequestTemplate
from ingest.load.shapes import ProtocolVersion
from ingest.text import on_one_line

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "User-Agent": "promgres-load",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
"""Of protocol 1."""
HEADERS_V2 = HEADERS | {
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}
NO_ANSWER = "no answer"
REQUEST_TIMEOUT_SECONDS = 30
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.03, 5.0


@dataclass(slots=True)
class Load:
    """What to send.

    Attributes:
        url: of the write side's endpoint.
        series: how many series, one sample of each a round.
        samples_per_request: as Prometheus' `max_samples_per_send`.
        rate: samples and histograms a second over all senders; 0 is as fast as they are answered.
        duration_seconds: when to start no further request.
        senders: requests under way at once.
        metric: name of the synthetic metric.
        start_ms, step_ms: timestamp of the first round, and between rounds; unset: now.
        protocol: major version of remote write.
        exemplars: share of the series whose samples come with an exemplar, 0 to 1.
        histograms: how many series of native histograms, one of each a round, besides `series`.
        float_histograms: whether these are of the float flavour.
        rounds: after how many rounds to end, if the duration is not over before; unset: never.
        key: API key, sent as a bearer token.
    """

    url: str
    series: int = 1000
    samples_per_request: int = 2000
    rate: float = 0
    duration_seconds: float = 10
    senders: int = 1
    metric: str = "promgres_load"
    start_ms: int | None = None
    step_ms: int | None = None
    protocol: ProtocolVersion = 1
    exemplars: float = 0
    histograms: int = 0
    float_histograms: bool = False
    rounds: int | None = None
    key: str | None = field(default=None, repr=False)


class Template(Protocol):
    """A request that is sent again and again."""

    @property
    def amounts(self) -> Amounts:
        """What a request holds."""

    def body(self, timestamp_ms: int) -> bytes:
        """The request at a time, as a snappy block of protobuf."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to a request; without a status, none came."""

    status: str
    headers: Mapping[str, str]
    text: str

    @property
    def retry_after_seconds(self) -> float | None:
        """What Retry-After asks for."""
        header = self.headers.get("Retry-After", "")
        return float(header) if header.isdigit() else None


class Senders:
    """Sends a load; `report` grows meanwhile."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.report = Report()
        self._next_sample = 0.0

    async def run(self, on_progress: Callable[[Report], None] = lambda _: None) -> Report:
        """Send until the duration is over; requests under way are awaited."""
        shares = self._shares()  # takes 15 us a series, which are not the receiver's
        started = time.monotonic()
        deadline = started + self.load.duration_seconds
        self._next_sample = started
        connector = aiohttp.TCPConnector(limit=self.load.senders)
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        who = {"Authorization": f"Bearer {self.load.key}"} if self.load.key else {}
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=who) as session,
            asyncio.TaskGroup() as group,
        ):
            for templates in shares:
                group.create_task(
                    self._send_rounds(session, templates, deadline, started, on_progress)
                )
        self.report.seconds = time.monotonic() - started
        on_progress(self.report)
        return self.report

    def _shares(self) -> list[list[Template]]:
        """Each sender's templates; a series belongs to one sender, so that its samples stay in
        order."""
        templates: list[Template] = [*self._sample_templates(), *self._histogram_templates()]
        shares = [templates[index :: self.load.senders] for index in range(self.load.senders)]
        return [share for share in shares if share]

    def _sample_templates(self) -> list[RequestTemplate]:
        load = self.load
        return [
            RequestTemplate(
                each.start,
                len(each),
                load.metric,
                protocol=load.protocol,
                exemplar_share=load.exemplars,
            )
            for each in self._slices(load.series)
        ]

    def _histogram_templates(self) -> list[HistogramTemplate]:
        load = self.load
        return [
            HistogramTemplate(
                each.start, len(each), load.metric, load.protocol, load.float_histograms
            )
            for each in self._slices(load.histograms)
        ]

    def _slices(self, series: int) -> list[range]:
        """Series numbers by request: none too large, and every sender gets some."""
        load = self.load
        size = max(1, min(load.samples_per_request, -(-series // load.senders)))
        return [range(first, min(first + size, series)) for first in range(0, series, size)]

    async def _send_rounds(
        self,
        session: aiohttp.ClientSession,
        templates: list[Template],
        deadline: float,
        started: float,
        on_progress: Callable[[Report], None],
    ) -> None:
        previous_ms = 0
        for round_number in count() if self.load.rounds is None else range(self.load.rounds):
            timestamp_ms = max(self._timestamp_ms(round_number), previous_ms + 1)
            for template in templates:
                await self._wait_for_rate(template.amounts.paced)
                if time.monotonic() >= deadline:
                    return
                await self._send(session, template, timestamp_ms, deadline)
                self.report.seconds = time.monotonic() - started
                on_progress(self.report)
            previous_ms = timestamp_ms

    def _timestamp_ms(self, round_number: int) -> int:
        load = self.load
        if load.start_ms is None and load.step_ms is None:
            return time.time_ns() // 1_000_000
        start_ms = time.time_ns() // 1_000_000 if load.start_ms is None else load.start_ms
        return start_ms + round_number * (load.step_ms or 1000)

    async def _wait_for_rate(self, amount: int) -> None:
        if not self.load.rate:
            return
        now = time.monotonic()
        turn = max(self._next_sample, now - 1)  # a stall is not made up for by a flood
        self._next_sample = turn + amount / self.load.rate
        if turn > now:
            await asyncio.sleep(turn - now)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        template: Template,
        timestamp_ms: int,
        deadline: float,
    ) -> None:
        """Send one request, again while it is answered 5xx or not at all."""
        body = template.body(timestamp_ms)
        self.report.sent += template.amounts
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            answer = await self._post(session, body)
            self.report.requests += 1
            self.report.statuses[answer.status] += 1
            if answer.status.startswith(("2", "4")):
                self._settle(answer, template.amounts, timestamp_ms)
                return
            if time.monotonic() >= deadline:
                return
            wait = answer.retry_after_seconds
            await asyncio.sleep(backoff if wait is None else wait)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)

    def _settle(self, answer: Answer, sent: Amounts, timestamp_ms: int) -> None:
        """Count what a final answer acknowledges."""
        is_success = answer.status.startswith("2")
        if self.load.protocol == 1:
            self.report.acknowledge(sent if is_success else NOTHING, timestamp_ms)
            return
        said = written(answer.headers)
        self.report.acknowledge(said.at_most(sent), timestamp_ms)
        complaint = shortfall(answer.status, sent, said, answer.headers)
        if is_success and complaint:
            self.report.short_answers += 1
            self.report.last_error = complaint

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> Answer:
        headers = HEADERS if self.load.protocol == 1 else HEADERS_V2
        try:
            async with session.post(self.load.url, data=body, headers=headers) as response:
                answer = Answer(str(response.status), response.headers, await response.text())
        except (aiohttp.ClientError, TimeoutError) as error:
            self.report.last_error = on_one_line(error)
            return Answer(NO_ANSWER, {}, "")
        if response.status >= 300:
            self.report.last_error = f"{answer.status}: {' '.join(answer.text.split())[:500]}"
        return answer
