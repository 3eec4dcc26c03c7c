"""Which way a batch takes into the database.

Samples that are all new go straight into the sample table. A batch with a duplicate is refused
there; it goes through staging, whose trigger dedupes, and so do the next ones: twice as many each
time that the short way fails, until it works again. A failed attempt leaves dead rows behind, so
with duplicates in every batch only one in 65 tries. Items always go through staging; its triggers,
too, have a short way, which they are told to try as long as the batch before had no duplicate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ingest.model import ITEM_STORES, TARGETS
from ingest.storage.database import Database, Touched
from ingest.writer.items import AnyBatch
from ingest.writer.metrics import BATCHES

MINUTE_MS = 60_000
MARKED_BY_MINUTE = 60
"""Up to so many minutes of a batch are marked one by one; beyond, hours and series are."""
LONGEST_DETOUR = 64


class Way:
    """Remembers, for each target, how many batches to come go through staging; and of which store
    the last batch had duplicates."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._detour = dict.fromkeys(TARGETS, 1)
        self._left = dict.fromkeys(TARGETS, 0)
        self._met_duplicates = dict.fromkeys(ITEM_STORES, False)

    async def copy(
        self,
        store: str,
        batches: Sequence[AnyBatch],
        payloads: Sequence[bytes],
        sent: Callable[[], None],
    ) -> list[int]:
        """Store the batches in one transaction; how many rows of each were new.

        Args:
            sent: called when all rows are on their way to the server.

        Raises:
            DATABASE_ERRORS: nothing of it is stored, or the outcome of the commit is unknown.
        """
        if store not in TARGETS:
            counts = await self._through_staging(
                store, payloads, sent, expect_duplicates=self._met_duplicates[store]
            )
            self._met_duplicates[store] = sum(counts) < sum(map(len, batches))
            return counts
        if self._left[store]:
            self._left[store] -= 1
        elif await self._database.append_samples(store, payloads, touched_by(batches), sent):
            self._detour[store] = 1
            BATCHES.labels(store, "direct").inc()
            return [len(batch) for batch in batches]
        else:
            self._left[store] = self._detour[store] - 1
            self._detour[store] = min(self._detour[store] * 2, LONGEST_DETOUR)
        return await self._through_staging(store, payloads, sent, expect_duplicates=True)

    async def _through_staging(
        self,
        store: str,
        payloads: Sequence[bytes],
        sent: Callable[[], None],
        expect_duplicates: bool,
    ) -> list[int]:
        BATCHES.labels(store, "staging").inc()
        return await self._database.copy_to_staging(store, payloads, expect_duplicates, sent)


def touched_by(batches: Sequence[AnyBatch]) -> Touched:
    """Minutes, and series where there are many minutes, of the batches."""
    timestamps = np.concatenate([batch.timestamp_ms for batch in batches])
    minutes = np.unique(timestamps // MINUTE_MS) * MINUTE_MS
    if len(minutes) <= MARKED_BY_MINUTE:
        return Touched(minutes.tolist(), None)
    series_ids = np.unique(np.concatenate([batch.owner_ids for batch in batches]))
    return Touched(minutes.tolist(), series_ids.tolist())
