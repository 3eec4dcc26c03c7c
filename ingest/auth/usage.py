"""When each key was last used: noted in the database, at most once a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

NOTE_SECONDS = 60.0


class Notebook(Protocol):
    """Where it is noted."""

    async def note_key_use(self, key_ids: Sequence[str]) -> None:
        """These keys were used just now. Raises Unavailable."""


class KeyUse:
    """Remembers which keys were used since that was last noted.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, notebook: Notebook, clock: Callable[[], float] = time.monotonic) -> None:
        self._notebook = notebook
        self._clock = clock
        self._due: set[str] = set()
        self._noted_at: dict[str, float] = {}

    def used(self, key_id: str) -> None:
        """A request came with this key, which is a valid one."""
        noted_at = self._noted_at.get(key_id)
        if noted_at is None or self._clock() - noted_at >= NOTE_SECONDS:
            self._due.add(key_id)

    async def write(self) -> None:
        """Note what is due.

        Raises:
            Unavailable: it stays due.
        """
        if not self._due:
            return
        key_ids, now = sorted(self._due), self._clock()
        await self._notebook.note_key_use(key_ids)
        self._due.difference_update(key_ids)
        self._noted_at.update(dict.fromkeys(key_ids, now))
