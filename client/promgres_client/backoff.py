"""How long to wait before trying again: exponential, full jitter, never less than asked for."""

from __future__ import annotations

import random

FIRST_SECONDS = 0.1
MOST_SECONDS = 30.0
MOST_ASKED_SECONDS = 300.0


class Backoff:
    """The waits of one request."""

    def __init__(self, first_seconds: float = FIRST_SECONDS) -> None:
        self._ceiling = first_seconds

    def next_seconds(self, asked_seconds: float = 0.0) -> float:
        """The next wait.

        Args:
            asked_seconds: the server's Retry-After. The jitter comes on top of it: all clients of
                an overloaded server were told the same.
        """
        jitter = random.uniform(0, self._ceiling)  # noqa: S311 (spreads load, guards nothing)
        self._ceiling = min(MOST_SECONDS, self._ceiling * 2)
        return min(asked_seconds, MOST_ASKED_SECONDS) + jitter
