"""Send synthetic requests as a well-behaved sender does, and count what came of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from ingest.load.requests import RequestTemplate

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "User-Agent": "promgres-load",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
REQUEST_TIMEOUT_SECONDS = 30
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.03, 5.0


@dataclass(slots=True)
class Load:
    """What to send.

    Attributes:
        url: of the write side's endpoint.
        series: how many series, one sample of each a round.
        samples_per_request: as Prometheus' `max_samples_per_send`.
        rate: samples a second over all senders; 0 is as fast as they are answered.
        duration_seconds: when to start no further request.
        senders: requests under way at once.
        metric: name of the synthetic metric.
        start_ms, step_ms: time stamp of the first round, and between rounds; unset: now.
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


@dataclass(slots=True)
class Report:
    """What came of it. Acknowledged samples were answered 2xx; the others may be stored or not."""

    sent: int = 0
    acknowledged: int = 0
    requests: int = 0
    seconds: float = 0
    statuses: Counter[str] = field(default_factory=Counter)
    first_ms: int | None = None
    last_ms: int | None = None
    last_error: str = ""

    @property
    def rate(self) -> float:
        """Acknowledged samples a second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0


class Senders:
    """Sends a load; `report` grows meanwhile."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.report = Report()
        self._next_sample = 0.0

    async def run(self, on_progress: Callable[[Report], None] = lambda _: None) -> Report:
        """Send until the duration is over; requests under way are awaited."""
        started = time.monotonic()
        deadline = started + self.load.duration_seconds
        self._next_sample = started
        connector = aiohttp.TCPConnector(limit=self.load.senders)
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            for templates in self._shares():
                group.create_task(
                    self._send_rounds(session, templates, deadline, started, on_progress)
                )
        self.report.seconds = time.monotonic() - started
        on_progress(self.report)
        return self.report

    def _shares(self) -> list[list[RequestTemplate]]:
        """Each sender's templates; a series belongs to one sender, so that its samples stay in
        order."""
        load = self.load
        size = max(1, min(load.samples_per_request, -(-load.series // load.senders)))
        templates = [
            RequestTemplate(first, min(size, load.series - first), load.metric)
            for first in range(0, load.series, size)
        ]
        shares = [templates[index :: load.senders] for index in range(load.senders)]
        return [share for share in shares if share]

    async def _send_rounds(
        self,
        session: aiohttp.ClientSession,
        templates: list[RequestTemplate],
        deadline: float,
        started: float,
        on_progress: Callable[[Report], None],
    ) -> None:
        round_number = 0
        previous_ms = 0
        while True:
            timestamp_ms = max(self._timestamp_ms(round_number), previous_ms + 1)
            for template in templates:
                await self._wait_for_rate(template.samples)
                if time.monotonic() >= deadline:
                    return
                await self._send(session, template, timestamp_ms, deadline)
                self.report.seconds = time.monotonic() - started
                on_progress(self.report)
            previous_ms = timestamp_ms
            round_number += 1

    def _timestamp_ms(self, round_number: int) -> int:
        load = self.load
        if load.start_ms is None and load.step_ms is None:
            return time.time_ns() // 1_000_000
        start_ms = time.time_ns() // 1_000_000 if load.start_ms is None else load.start_ms
        return start_ms + round_number * (load.step_ms or 1000)

    async def _wait_for_rate(self, samples: int) -> None:
        if not self.load.rate:
            return
        now = time.monotonic()
        turn = max(self._next_sample, now - 1)  # a stall is not made up for by a flood
        self._next_sample = turn + samples / self.load.rate
        if turn > now:
            await asyncio.sleep(turn - now)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        template: RequestTemplate,
        timestamp_ms: int,
        deadline: float,
    ) -> None:
        """Send one request, again while it is answered 5xx or not at all."""
        body = template.body(timestamp_ms)
        report = self.report
        report.sent += template.samples
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            status, retry_after = await self._post(session, body)
            report.requests += 1
            report.statuses[status] += 1
            if status.startswith("2"):
                report.acknowledged += template.samples
                first, last = report.first_ms, report.last_ms
                report.first_ms = timestamp_ms if first is None else min(first, timestamp_ms)
                report.last_ms = timestamp_ms if last is None else max(last, timestamp_ms)
                return
            if status.startswith("4") or time.monotonic() >= deadline:
                return
            await asyncio.sleep(retry_after if retry_after is not None else backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> tuple[str, float | None]:
        try:
            async with session.post(self.load.url, data=body, headers=HEADERS) as response:
                text = await response.text()
                if response.status >= 300:
                    self.report.last_error = f"{response.status}: {text.strip()[:500]}"
                retry_after = response.headers.get("Retry-After", "")
                seconds = float(retry_after) if retry_after.isdigit() else None
                return str(response.status), seconds
        except (aiohttp.ClientError, TimeoutError) as error:
            self.report.last_error = " ".join(str(error).split()) or type(error).__name__
            return "no answer", None
