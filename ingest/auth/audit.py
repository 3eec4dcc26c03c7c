"""Refusals on their way into `app.audit`; no request waits for that."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

from ingest.auth.metrics import REFUSED, UNRECORDED
from ingest.errors import KeyRefused

ACTION = "key_refused"
MOST_WAITING = 10_000
MOST_A_MINUTE = 200
"""Rows of one minute: whoever tries a thousand keys does not fill the database."""
AGAIN_SECONDS = 60
"""What is refused again and again has a row in so long: a sender whose key has expired goes on."""
AT_ONCE = 500


class Recorder(Protocol):
    """Where refusals are kept."""

    async def record_refusals(self, refusals: str) -> None:
        """Keep them: a JSON array, see `internal.record_refusals`. Raises Unavailable."""


class Refusal(NamedTuple):
    """What refusals have in common when they share a row."""

    reason: str
    key_id: str | None
    tenant_id: int | None
    address: str | None


@dataclass(slots=True)
class _Row:
    """A row to be.

    Attributes:
        second: when the first of them was, in seconds since 1970.
        due: when it is to be written.
    """

    second: int
    due: float
    times: int = 1


class Audit:
    """Counts refusals and writes them from time to time: the first at once, and those that follow
    within a minute as one row.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, recorder: Recorder, clock: Callable[[], float] = time.time) -> None:
        self._recorder = recorder
        self._clock = clock
        self._waiting: dict[Refusal, _Row] = {}
        self._next_due: dict[Refusal, float] = {}
        self._minute = 0
        self._rows_of_minute = 0

    def refused(self, error: KeyRefused, address: str | None) -> None:
        """Remember one. Of the key it holds at most the id."""
        REFUSED.labels(error.reason).inc()
        second = int(self._clock())
        refusal = Refusal(error.reason, error.key_id, error.tenant_id, address)
        row = self._waiting.get(refusal)
        if row is not None:
            row.times += 1
        elif self._has_room(second):
            due = max(second + 1, self._next_due.get(refusal, 0))
            self._waiting[refusal] = _Row(second, due)
            self._rows_of_minute += 1
        else:
            UNRECORDED.inc()

    async def write(self, everything: bool = False) -> bool:
        """Write what waits, the oldest first.

        Args:
            everything: what is not due yet, too.

        Returns:
            Whether more waits.

        Raises:
            Unavailable: it waits on.
        """
        now = self._clock()
        due = ((each, row) for each, row in self._waiting.items() if everything or row.due <= now)
        batch = [(refusal, row, row.times) for refusal, row in islice(due, AT_ONCE)]
        if not batch:
            return False
        await self._recorder.record_refusals(json.dumps([_row(*each) for each in batch]))
        for refusal in [each for each, due in self._next_due.items() if due <= now]:
            del self._next_due[refusal]
        for refusal, row, times in batch:
            row.times -= times  # what came meanwhile stays, for the next row
            row.second, row.due = int(self._clock()), now + AGAIN_SECONDS
            self._next_due[refusal] = row.due
            if not row.times:
                del self._waiting[refusal]
        return len(batch) == AT_ONCE

    def _has_room(self, second: int) -> bool:
        if second // 60 != self._minute:
            self._minute, self._rows_of_minute = second // 60, 0
        return self._rows_of_minute < MOST_A_MINUTE and len(self._waiting) < MOST_WAITING


def _row(refusal: Refusal, row: _Row, times: int) -> dict[str, object]:
    return {
        "at": row.second,
        "action": ACTION,
        "tenant_id": refusal.tenant_id,
        "key_id": refusal.key_id,
        "address": refusal.address,
        "times": times,
        "details": {"reason": refusal.reason},
    }
