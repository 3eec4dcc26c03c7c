"""The write side as a sender sees it: a request is sent until somebody has answered for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from ingest.backfill.patience import Patience
from ingest.backfill.plan import shown_url
from ingest.errors import OperatorError
from ingest.text import on_one_line
from ingest.wire.remote_write.encode import CONTENT_HEADERS, Run, write_body

SAMPLES_A_REQUEST = 10_000
REQUEST_SECONDS = 30
TEXT_CHARACTERS = 2000

_REFUSED = re.compile(r"(\d+) of \d+ samples refused, the others are stored:\s*")
"""How an answer begins whose other lines are reasons."""


@dataclass(frozen=True)
class Refused:
    """Samples that the write side will never take, and why, on one line."""

    samples: int
    reason: str


@dataclass(frozen=True)
class WriteSide:
    """Where samples go.

    Attributes:
        url: endpoint of remote write.
        headers: that say who we are.
    """

    session: aiohttp.ClientSession
    url: str
    headers: Mapping[str, str]

    async def check(self) -> None:
        """Send a request of nothing.

        Raises:
            OperatorError: nobody takes remote write there, or not from us.
        """
        try:
            status, text, _ = await self._post(write_body([]), CONTENT_HEADERS)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = on_one_line(error)
            raise OperatorError(f"--url {shown_url(self.url)}: {reason}") from None
        if 300 <= status < 500 and status != 429:
            raise OperatorError(f"--url {shown_url(self.url)}: {status}: {_on_one_line(text)}")

    async def write(self, runs: Sequence[Run]) -> Refused | None:
        """Write samples; they are stored, or safe in the spool, when this returns.

        Raises:
            OperatorError: the write side takes nothing from us (another 4xx than 400).
            GaveUp: it has not answered for long.
        """
        refused = []
        for request in requests_of(runs):
            if said := await self.forward(write_body(request), CONTENT_HEADERS):
                refused.append(said)
        if not refused:
            return None
        return Refused(sum(each.samples for each in refused), refused[0].reason)

    async def wait(self) -> None:
        """Until it takes requests; raises as `write` does."""
        await self.forward(write_body([]), CONTENT_HEADERS)

    async def forward(self, body: bytes, headers: Mapping[str, str]) -> Refused | None:
        """One request, as often as it takes; see `write`."""
        patience = Patience(f"{shown_url(self.url)} takes nothing")
        while True:
            try:
                status, text, retry_after = await self._post(body, headers)
            except (aiohttp.ClientError, TimeoutError) as error:
                await patience.wait(on_one_line(error))
                continue
            if 200 <= status < 300:
                return None
            if status == 400:
                return _refused(text)
            if status < 500 and status != 429:
                raise OperatorError(f"{shown_url(self.url)}: {status}: {_on_one_line(text)}")
            await patience.wait(f"{status}: {_on_one_line(text)}", retry_after)

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, float | None]:
        """Status, text, and what Retry-After asks for in seconds."""
        async with self.session.post(
            self.url, data=body, headers={**headers, **self.headers}, allow_redirects=False
        ) as response:
            text = (await response.text(errors="replace"))[:TEXT_CHARACTERS]
            asked = response.headers.get("Retry-After", "")
            return response.status, text.strip(), float(asked) if asked.isdigit() else None


def _refused(text: str) -> Refused:
    """How many samples a 400 speaks of, and the first of its reasons."""
    count = _REFUSED.match(text)
    reasons = text[count.end() :] if count else text
    return Refused(int(count[1]) if count else 0, (reasons.splitlines() or ["no reason"])[0])


def _on_one_line(text: str) -> str:
    return " ".join(text.split()) or "no reason"


def requests_of(runs: Sequence[Run]) -> list[list[Run]]:
    """Samples parted into requests of `SAMPLES_A_REQUEST` at most; a long run becomes several."""
    requests: list[list[Run]] = [[]]
    room = SAMPLES_A_REQUEST
    for labels, timestamps_ms, values in runs:
        start = 0
        while start < len(values):
            if room == 0:
                requests.append([])
                room = SAMPLES_A_REQUEST
            end = min(start + room, len(values))
            requests[-1].append(Run(labels, timestamps_ms[start:end], values[start:end]))
            room -= end - start
            start = end
    return [request for request in requests if request]
