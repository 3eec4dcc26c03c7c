"""What the writers last heard of the database: the cheapest answer to whether it takes writes."""

from __future__ import annotations

import asyncio

FRESH_SECONDS = 5.0
"""A commit so lately says that the next one succeeds, too."""


class Outcomes:
    """Of the last batches.

    Attributes:
        is_doubtful: the last one failed.
        commits: how many were committed.
    """

    def __init__(self) -> None:
        self.is_doubtful = False
        self.commits = 0
        self._committed_at: float | None = None

    def committed(self) -> None:
        """A batch is committed."""
        self.is_doubtful = False
        self.commits += 1
        self._committed_at = asyncio.get_running_loop().time()

    def failed(self) -> None:
        """The database did not take a batch that is as it should be."""
        self.is_doubtful = True

    @property
    def is_fresh(self) -> bool:
        """Whether the last batch was committed, and lately."""
        if self.is_doubtful or self._committed_at is None:
            return False
        return asyncio.get_running_loop().time() - self._committed_at < FRESH_SECONDS
