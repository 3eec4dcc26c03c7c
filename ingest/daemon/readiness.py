"""Whether a write would be answered well now: what `/-/ready` says.

What the writers last met is believed where it is good news. Else the database is asked, then the
spool: each by the very thing that a request would need of it.
"""

from __future__ import annotations

import asyncio

from ingest import tasks
from ingest.storage.database import Database
from ingest.writer.commit import Outcomes
from ingest.writer.spool.queue import Spool

BELIEVED_SECONDS = 1.0
"""How long an answer stands: asking often does not load the database."""


class Readiness:
    """Asks when asked; all who ask at the same moment share one answer.

    Args:
        spool: None where there is none.
    """

    def __init__(self, database: Database, outcomes: Outcomes, spool: Spool | None) -> None:
        self._database = database
        self._outcomes = outcomes
        self._spool = spool
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._answer: str | None = None

    async def __call__(self) -> str | None:
        """Why a write would not be taken; None if it would."""
        clock = asyncio.get_running_loop().time
        async with self._asking:
            if clock() - self._asked_at >= BELIEVED_SECONDS:
                self._answer = await self._ask()
                self._asked_at = clock()
        return self._answer

    async def _ask(self) -> str | None:
        trouble = tasks.trouble()
        if trouble is not None:
            return trouble
        if self._outcomes.is_fresh or await self._database.ready(self._outcomes.is_doubtful):
            return None
        if self._spool is None:
            return "the database takes no writes"
        if not await self._spool.ready():
            return "the database takes no writes, nor does the spool"
        return None
