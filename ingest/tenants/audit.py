"""Refusals on their way into `app.audit`; no request waits for that."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple, Protocol

from ingest.errors import KeyRefused
from ingest.tenants.metrics import REFUSED, UNRECORDED

ACTION = "key_refused"
MOST_WAITING = 10_000
MOST_A_SECOND = 100
"""Rows of one second: whoever tries a thousand keys does not fill the database."""
AT_ONCE = 500


class Recorder(Protocol):
    """Where refusals are kept."""

    async def record_refusals(self, refusals: str) -> None:
        """Keep them: a JSON array, see `internal.record_refusals`. Raises Unavailable."""


class Refusal(NamedTuple):
    """What refusals of one second have in common when they share a row."""

    second: int
    reason: str
    key_id: str | None
    tenant_id: int | None
    address: str | None


class Audit:
    """Counts refusals and writes them from time to time.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, recorder: Recorder, clock: Callable[[], float] = time.time) -> None:
        self._recorder = recorder
        self._clock = clock
        self._waiting: dict[Refusal, int] = {}
        self._second = 0
        self._rows_of_second = 0

    def refused(self, error: KeyRefused, address: str | None) -> None:
        """Remember one. Of the key it holds at most the id."""
        REFUSED.labels(error.reason).inc()
        second = int(self._clock())
        refusal = Refusal(second, error.reason, error.key_id, error.tenant_id, address)
        if refusal in self._waiting:
            self._waiting[refusal] += 1
        elif self._has_room(second):
            self._waiting[refusal] = 1
            self._rows_of_second += 1
        else:
            UNRECORDED.inc()

    async def write(self, everything: bool = False) -> bool:
        """Write what waits, the oldest first.

        Args:
            everything: the second that is not over yet, too.

        Returns:
            Whether more waits.

        Raises:
            Unavailable: it waits on.
        """
        before = self._second + 1 if everything else int(self._clock())
        due = ((row, times) for row, times in self._waiting.items() if row.second < before)
        batch = list(islice(due, AT_ONCE))
        if not batch:
            return False
        await self._recorder.record_refusals(json.dumps([_row(*each) for each in batch]))
        for refusal, times in batch:
            self._waiting[refusal] -= times
            if not self._waiting[refusal]:
                del self._waiting[refusal]
        return len(batch) == AT_ONCE

    def _has_room(self, second: int) -> bool:
        if second != self._second:
            self._second, self._rows_of_second = second, 0
        return self._rows_of_second < MOST_A_SECOND and len(self._waiting) < MOST_WAITING


def _row(refusal: Refusal, times: int) -> dict[str, object]:
    return {
        "at": refusal.second,
        "action": ACTION,
        "tenant_id": refusal.tenant_id,
        "key_id": refusal.key_id,
        "address": refusal.address,
        "times": times,
        "details": {"reason": refusal.reason},
    }
