"""Which lane a question starts in: cheap ones never wait behind dear ones.

Every question that only reads starts in the quick lane, with a short time. What takes longer is
ended there and asked again in the dear lane, which has few connections: nobody has to know
beforehand what is dear. A question that writes cannot be asked twice: of these, only a few are in
the quick lane at once.
"""

from __future__ import annotations

from time import monotonic

REMEMBERED_SECONDS = 60.0
MOST_REMEMBERED = 10_000
"""Questions that are remembered, and how long."""


class Remembered:
    """Questions that turned out to be dear, or long, a short while ago: the same question, asked
    again as dashboards do, does not have to show it once more."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def __contains__(self, question: object) -> bool:
        """Whether it was so not long ago. Of a question its hash is kept."""
        since = self._since.get(hash(question))
        return since is not None and monotonic() < since + REMEMBERED_SECONDS

    def note(self, question: object) -> None:
        """It was so just now."""
        key = hash(question)
        self._since.pop(key, None)
        self._since[key] = monotonic()
        if len(self._since) > MOST_REMEMBERED:
            del self._since[next(iter(self._since))]
