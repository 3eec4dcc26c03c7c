"""Rows of one store on their way to the database: a request's, then those of many merged.

Samples and items are the same to all that follows: what differs between stores is in `stores.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar, Protocol

import numpy as np

from ingest.copy_samples import encode_samples
from ingest.model import Int64s, Intake, Item, Items, NewSamples, Rows, SeriesId
from ingest.series.cache import SeriesCache
from ingest.stores import ITEM_STORES, SAMPLE_STORES, ItemStore, Store
from ingest.text import time_text

ITEM_WEIGHT = 10
"""Encoding an item takes the time of so many samples and more; nothing else happens meanwhile."""


class Batch(Protocol):
    """Rows of one store, in any order until they are merged.

    Attributes:
        row_weight: how much of a transaction a row takes, in samples.
        owner_ids: whose each row is: of which series, or tenant.
        timestamp_ms: when the rows are of that need a partition.
    """

    row_weight: ClassVar[int]

    @property
    def store(self) -> Store: ...

    @property
    def owner_ids(self) -> Sequence[int]: ...

    @property
    def timestamp_ms(self) -> Int64s: ...

    @property
    def shard_numbers(self) -> Int64s:
        """Rows of which this is the same must not meet in two transactions at once."""

    def __len__(self) -> int: ...

    def take(self, positions: Int64s) -> Batch:
        """The rows at these positions, in this order."""

    def merge(self, others: Sequence[Any]) -> Batch:
        """One batch of these rows and those of others of the same store, in an order that every
        writer keeps to, so that none deadlock."""

    def encode(self) -> bytes:
        """A complete binary COPY stream for the staging table."""

    def describe(self, position: int) -> str:
        """One row, for people's eyes, to come after the name of its series."""

    def remember(self, cache: SeriesCache) -> None:
        """Have the cache know of rows that are sent again and again that they are stored."""


@dataclass(slots=True)
class SampleBatch:
    """Samples of one target; see `Batch`."""

    row_weight: ClassVar[int] = 1

    store: Store
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows.series_id)

    @property
    def owner_ids(self) -> list[int]:
        ids: list[int] = self.rows.series_id.tolist()
        return ids

    @property
    def timestamp_ms(self) -> Int64s:
        return self.rows.timestamp_ms

    @property
    def shard_numbers(self) -> Int64s:
        return self.rows.series_id

    def take(self, positions: Int64s) -> SampleBatch:
        rows = self.rows
        exact = {}
        if rows.exact:
            wanted = np.flatnonzero(np.isin(positions, list(rows.exact)))
            exact = {int(new): rows.exact[int(positions[new])] for new in wanted}
        return SampleBatch(
            self.store,
            Rows(
                rows.series_id[positions],
                rows.timestamp_ms[positions],
                rows.value[positions],
                exact,
            ),
        )

    def merge(self, others: Sequence[SampleBatch]) -> SampleBatch:
        """Sorted by series and time. Of equal keys the first is kept, in the order given."""
        rows = _concatenate([self.rows, *[each.rows for each in others]])
        order = np.lexsort((rows.timestamp_ms, rows.series_id))  # stable: the first stays first
        series_id, timestamp_ms = rows.series_id[order], rows.timestamp_ms[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (series_id[1:] != series_id[:-1]) | (timestamp_ms[1:] != timestamp_ms[:-1])
        return SampleBatch(self.store, rows).take(order[is_first])

    def encode(self) -> bytes:
        return encode_samples(self.rows)

    def describe(self, position: int) -> str:
        value = self.rows.exact.get(position) or repr(float(self.rows.value[position]))
        return f"{value} at {time_text(int(self.rows.timestamp_ms[position]))}"

    def remember(self, cache: SeriesCache) -> None:
        """Samples are sent once."""


@dataclass(slots=True)
class ItemBatch:
    """Items of one store; see `Batch`. The database sorts out equal ones."""

    row_weight: ClassVar[int] = ITEM_WEIGHT

    store: ItemStore[Any]
    items: Items

    def __len__(self) -> int:
        return len(self.items)

    @property
    def owner_ids(self) -> list[int]:
        return self.items.owner_id

    @property
    def timestamp_ms(self) -> Int64s:
        if self.store.moment is None:
            return np.empty(0, np.int64)
        attribute, units = self.store.moment
        moments = map(attrgetter(attribute), self.items.item)
        return np.fromiter(moments, np.int64, len(self)) // units

    @property
    def shard_numbers(self) -> Int64s:
        number = self.store.shard_number
        numbers = self.items.owner_id if number is None else map(number, self.items.item)
        return np.fromiter(numbers, np.int64, len(self))

    def take(self, positions: Int64s) -> ItemBatch:
        owners, items = self.items.owner_id, self.items.item
        chosen = positions.tolist()
        return ItemBatch(
            self.store, Items([owners[at] for at in chosen], [items[at] for at in chosen])
        )

    def merge(self, others: Sequence[ItemBatch]) -> ItemBatch:
        """Sorted by owner, then as the store says."""
        together = [self.items, *[each.items for each in others]]
        owners = [owner_id for each in together for owner_id in each.owner_id]
        items = [item for each in together for item in each.item]
        # Positions are sorted, by item and then, since that is stable, by owner: pairs and keys of
        # pairs would be two more objects an item for the garbage collector.
        keys = [*map(self.store.order, items)]
        positions = sorted(range(len(items)), key=keys.__getitem__)
        positions.sort(key=owners.__getitem__)
        return ItemBatch(
            self.store, Items([owners[at] for at in positions], [items[at] for at in positions])
        )

    def encode(self) -> bytes:
        return self.store.encode(self.items)

    def describe(self, position: int) -> str:
        return self.store.describe(self.items.item[position])

    def remember(self, cache: SeriesCache) -> None:
        if self.store.remembered is not None:
            for owner_id, item in zip(self.items.owner_id, self.items.item, strict=True):
                cache.remember_item(self.store.name, owner_id, item)


def batches_of(intake: Intake, ids: dict[bytes, SeriesId]) -> list[Batch]:
    """What there is to store of a request, one batch a store.

    Args:
        ids: of new series by identity; what belongs to the others is left out.
    """
    rows = {target: [known] for target, known in intake.known.items()}
    items = {
        store: Items([*known.owner_id], [*known.item]) for store, known in intake.items.items()
    }
    new_by_target: dict[str, list[NewSamples]] = {}
    for new in intake.new:
        series_id = ids.get(new.series.identity)
        if series_id is None:
            continue
        if new.timestamp_ms:
            new_by_target.setdefault(new.series.target, []).append(new)
        beside: dict[str, Sequence[Item]] = {
            "histogram": new.histograms,
            "exemplar": new.exemplars,
            "start": new.starts,
        }
        for store, found in beside.items():
            for item in found:
                items.setdefault(store, Items()).add(series_id, item)
    for target, some in new_by_target.items():
        rows.setdefault(target, []).append(_rows_of(some, ids))
    return [
        *[SampleBatch(SAMPLE_STORES[target], _concatenate(some)) for target, some in rows.items()],
        *[ItemBatch(ITEM_STORES[store], some) for store, some in items.items()],
    ]


def split(batch: Batch, shards: int) -> list[tuple[int, Batch]]:
    """Numbers of shards and the rows for each that gets some."""
    if shards == 1:
        return [(0, batch)]
    shard = batch.shard_numbers % shards
    chosen = [(number, np.flatnonzero(shard == number)) for number in range(shards)]
    return [(number, batch.take(positions)) for number, positions in chosen if len(positions)]


def cut(batch: Batch, most_weight: int) -> list[Batch]:
    """The same in several pieces, if it is much more than one transaction should be: others have
    their turn in between."""
    most = max(1, most_weight // batch.row_weight)
    if len(batch) <= 2 * most:
        return [batch]
    everything = np.arange(len(batch))
    return [batch.take(everything[at : at + most]) for at in range(0, len(batch), most)]


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """Two batches of half the rows each, in order."""
    middle = len(batch) // 2
    return batch.take(np.arange(middle)), batch.take(np.arange(middle, len(batch)))


def _concatenate(parts: Sequence[Rows]) -> Rows:
    """All rows of the parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    exact: dict[int, str] = {}
    start = 0
    for part in parts:
        exact.update((start + position, text) for position, text in part.exact.items())
        start += len(part)
    return Rows(
        np.concatenate([part.series_id for part in parts]),
        np.concatenate([part.timestamp_ms for part in parts]),
        np.concatenate([part.value for part in parts]),
        exact,
    )


def _rows_of(new: Sequence[NewSamples], ids: dict[bytes, SeriesId]) -> Rows:
    """Samples of new series, which have their ids by now."""
    exact: dict[int, str] = {}
    start = 0
    for samples in new:
        if samples.exact is not None:  # the text of the value label: the same for each sample
            end = start + len(samples.timestamp_ms)
            exact.update(dict.fromkeys(range(start, end), samples.exact))
        start += len(samples.timestamp_ms)
    return Rows(
        np.array([ids[each.series.identity] for each in new for _ in each.timestamp_ms], np.int64),
        np.array([moment for each in new for moment in each.timestamp_ms], np.int64),
        np.array([value for each in new for value in each.value], np.float64),
        exact,
    )
