"""Which way a batch takes into the database.

Samples that are all new go straight into the sample table. A batch with a duplicate is refused
there; it goes through staging, whose trigger dedupes, and so do the next ones: twice as many each
time that the short way fails, until it works again. A failed attempt leaves dead rows behind, so
with duplicates in every batch only one in 65 tries. A batch of late samples, each series at times
of its own, goes through staging because the trigger marks it exactly. Items always go through
staging; its triggers, too, have a short way, which they are told to try as long as the batch before
had no duplicate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from ingest.model import Int64s
from ingest.storage.database import Database, Touched
from ingest.stores import ITEM_STORES, TARGETS
from ingest.writer.batch import Batch
from ingest.writer.metrics import BATCHES

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
LATE_MS = 5 * MINUTE_MS
"""Of older samples rollups are told whose they are: one metric's are no other's business."""
MOST_MARKED_FOR_NOTHING = 4
"""Each series of a late batch is taken to have samples in each of its hours, unless that makes so
many times more pairs than there are samples."""
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
        batches: Sequence[Batch],
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
        touched = touched_by(batches, time.time_ns() // 1_000_000)
        if touched is None:
            return await self._through_staging(store, payloads, sent, expect_duplicates=False)
        if self._left[store]:
            self._left[store] -= 1
        elif await self._database.append_samples(store, payloads, touched, sent):
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


def touched_by(batches: Sequence[Batch], now_ms: int) -> Touched | None:
    """What of the batches rollups have to know; None if only the rows themselves can tell."""
    timestamps = np.concatenate([batch.timestamp_ms for batch in batches])
    late = timestamps < now_ms - LATE_MS
    if not late.any():
        return Touched(_minutes_of(timestamps), None)
    owners = np.concatenate([np.asarray(batch.owner_ids, np.int64) for batch in batches])[late]
    series_ids = np.unique(owners)
    hours = np.unique(timestamps[late] // HOUR_MS)
    if len(series_ids) * len(hours) > MOST_MARKED_FOR_NOTHING * len(owners):
        return None
    recent = _minutes_of(timestamps[~late])
    return Touched(_minutes_of(timestamps[late]), series_ids.tolist(), recent)


def _minutes_of(timestamps: Int64s) -> list[int]:
    minutes: list[int] = (np.unique(timestamps // MINUTE_MS) * MINUTE_MS).tolist()
    return minutes
