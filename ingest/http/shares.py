"""What one client may have under way of what all share, so that others have their part."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from ingest.errors import Busy
from ingest.model import TenantId

MOST_SLOW = 500
MOST_SLOW_CHARACTERS = 500


class UnderWay:
    """What every caller has under way, running or waiting: of functions, measures and events.

    Args:
        most_each: questions of one caller.
    """

    def __init__(self, most_each: int) -> None:
        self._most_each = most_each
        self._questions: Counter[Hashable] = Counter()

    @contextmanager
    def one_more(self, who: Hashable) -> Iterator[None]:
        """Count a question while the block lasts.

        Raises:
            Busy: it is too much.
        """
        if self._questions[who] >= self._most_each:
            message = "Too many questions of this key or role are under way"
            raise Busy(message, "The limit is api.questions_per_caller")
        self._questions[who] += 1
        try:
            yield
        finally:
            self._questions[who] -= 1
            if not self._questions[who]:
                del self._questions[who]


class Slow:
    """The last slow questions of all APIs of a process, for who may see them."""

    def __init__(self) -> None:
        self._questions: deque[tuple[TenantId, str, float, float]] = deque(maxlen=MOST_SLOW)

    def note(self, tenant_id: TenantId, question: str, seconds: float) -> None:
        """One more: a function's name, or the text of a query."""
        shown = question[:MOST_SLOW_CHARACTERS]
        self._questions.append((tenant_id, shown, seconds, time.time()))

    def of(self, tenant_id: TenantId) -> list[dict[str, object]]:
        """Those of a tenant, the newest first: `question`, `seconds`, `when`."""
        return [
            {
                "question": question,
                "seconds": round(seconds, 2),
                "when": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
            }
            for asked_by, question, seconds, at in reversed(self._questions)
            if asked_by == tenant_id
        ]


class Memory:
    """Room for bodies that are under way; nobody has more than half of it.

    Args:
        most: bytes of all.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._most_each = most // 2
        self._held: Counter[Hashable] = Counter()

    def take(self, who: Hashable, length: int) -> bool:
        """Hold so many bytes; False if there is no room for them."""
        if length > self._free or self._held[who] + length > self._most_each:
            return False
        self._free -= length
        self._held[who] += length
        return True

    def give(self, who: Hashable, length: int) -> None:
        """They are gone."""
        self._free += length
        self._held[who] -= length
        if not self._held[who]:
            del self._held[who]
