"""Requests at a fixed pace, whether or not those before have been answered: what overload is.

`ingest.load` waits for answers as good senders do, and so never sends more than is taken.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from ingest.load.requests import RequestTemplate
from ingest.load.sender import HEADERS

PATIENCE_SECONDS = 40
MOST_UNDER_WAY = 3000


@dataclass
class OpenLoop:
    """Paced requests of one sample of each series, every one at a timestamp of its own.

    Attributes:
        acknowledged_ms: timestamps of the requests that were answered 204.
        statuses: how many answers of each kind; `no answer` where none came.
        slowest_seconds: of all answers.
    """

    url: str
    series: int
    metric: str
    first_ms: int
    acknowledged_ms: list[int] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._template = RequestTemplate(0, self.series, self.metric)
        self._next_ms = self.first_ms

    async def send(self, requests_per_second: float, seconds: float) -> int:
        """Send at this pace for so long, then wait for all answers; how many requests it were."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        began = time.monotonic()
        number = 0
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            while (now := time.monotonic()) < began + seconds:
                due = began + number / requests_per_second
                if due > now or len(group._tasks) > MOST_UNDER_WAY:  # type: ignore[attr-defined]
                    await asyncio.sleep(max(due - now, 0.001))
                    continue
                group.create_task(self._post(session, self._next_ms))
                self._next_ms += 1
                number += 1
        return number

    async def _post(self, session: aiohttp.ClientSession, timestamp_ms: int) -> None:
        body = self._template.body(timestamp_ms)
        began = time.monotonic()
        try:
            async with session.post(self.url, data=body, headers=HEADERS) as response:
                self.reasons[(await response.text()).strip()] += 1
                status = str(response.status)
        except (aiohttp.ClientError, TimeoutError):
            status = "no answer"
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        self.statuses[status] += 1
        if status == "204":
            self.acknowledged_ms.append(timestamp_ms)
