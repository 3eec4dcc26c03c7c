"""Which lane a question starts in: cheap ones never wait behind dear ones.

Every question that only reads starts in the quick lane, with a short time. What takes longer is
ended there and asked again in the dear lane, which has few connections: nobody has to know
beforehand what is dear. A question that writes cannot be asked twice: of these, only a few are in
the quick lane at once.
"""

from __future__ import annotations

from collections.abc import Hashable
from time import monotonic

DEAR_SECONDS = 60.0
MOST_DEAR = 10_000
"""Questions that are remembered, and how long."""


class Dear:
    """Questions that took too long for the quick lane a short while ago: the same question, asked
    again as dashboards do, does not have to show it once more."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def knows(self, question: Hashable) -> bool:
        """Whether it was dear not long ago. Two questions may share what is kept of them."""
        since = self._since.get(hash(question))
        return since is not None and monotonic() < since + DEAR_SECONDS

    def note(self, question: Hashable) -> None:
        """It was dear just now."""
        key = hash(question)
        self._since.pop(key, None)
        self._since[key] = monotonic()
        if len(self._since) > MOST_DEAR:
            del self._since[next(iter(self._since))]
