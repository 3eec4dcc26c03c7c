"""Items of several requests as what one COPY takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import cast

import numpy as np

from ingest.model import (
    PUSHED_STORES,
    Event,
    Exemplar,
    Histogram,
    Int64s,
    Item,
    Items,
    Measure,
    Metadata,
    Start,
)
from ingest.text import series_text, time_text
from ingest.writer.batch import Batch
from ingest.writer.copy_items import encode_items


@dataclass(slots=True)
class ItemBatch:
    """Items of one store, sorted by owner and time; the database sorts out equal ones."""

    store: str
    items: Items

    def __len__(self) -> int:
        return len(self.items)

    @property
    def owner_ids(self) -> list[int]:
        """Whose they are."""
        return self.items.owner_id

    @property
    def timestamp_ms(self) -> Int64s:
        """When they are of; metadata and starts need no partition."""
        items = self.items.item
        if self.store in PUSHED_STORES:
            pushed = cast(list[Measure | Event], items)
            return np.array([each.timestamp_us for each in pushed], np.int64) // 1000
        timed = [each.timestamp_ms for each in items if isinstance(each, Exemplar | Histogram)]
        return np.array(timed, np.int64)

    def halves(self) -> tuple[ItemBatch, ItemBatch]:
        """Two batches of half the items each."""
        middle = len(self) // 2
        owners, items = self.items.owner_id, self.items.item
        return (
            ItemBatch(self.store, Items(owners[:middle], items[:middle])),
            ItemBatch(self.store, Items(owners[middle:], items[middle:])),
        )

    def encode(self) -> bytes:
        """As a binary COPY stream."""
        return encode_items(self.store, self.items)

    def describe(self, position: int) -> str:
        """One item, for people's eyes, to come after the name of its series."""
        return _describe(self.items.item[position])


AnyBatch = Batch | ItemBatch


def merge_items(store: str, parts: Sequence[Items]) -> ItemBatch:
    """One batch of all parts, in an order that every writer keeps to, so that none deadlock."""
    pairs = [pair for part in parts for pair in zip(part.owner_id, part.item, strict=True)]
    pairs.sort(key=_pushed_order if store in PUSHED_STORES else _order)
    return ItemBatch(store, Items([owner for owner, _ in pairs], [item for _, item in pairs]))


def _order(pair: tuple[int, Item]) -> tuple[object, ...]:
    owner, item = pair
    if isinstance(item, Metadata):
        return (owner, item.name, item.type, item.unit, item.help)
    if isinstance(item, Start):
        return (owner, item.start_ms)
    if isinstance(item, Histogram):
        return (owner, item.timestamp_ms)
    exemplar = cast(Exemplar, item)
    value = (isnan(exemplar.value), 0.0 if isnan(exemplar.value) else exemplar.value)
    return (owner, exemplar.timestamp_ms, value, exemplar.labels)


def _pushed_order(pair: tuple[int, Item]) -> tuple[object, ...]:
    owner, item = pair
    pushed = cast(Measure | Event, item)
    return (owner, pushed.timestamp_us, pushed.item_id)


def _describe(item: Item) -> str:
    if isinstance(item, Metadata):
        return f"metadata of {item.name}"
    if isinstance(item, Start):
        return f"start time stamp {time_text(item.start_ms)}"
    if isinstance(item, Measure | Event):
        value = f" {item.exact or repr(item.value)}" if isinstance(item, Measure) else ""
        kind = "measure" if isinstance(item, Measure) else "event"
        return f"{kind} {item.name!r}{value} at {time_text(item.timestamp_us // 1000)}"
    moment = time_text(item.timestamp_ms)
    if isinstance(item, Histogram):
        return f"native histogram of {item.observations} observations at {moment}"
    labels = series_text((name.encode(), value.encode()) for name, value in item.labels)
    return f"exemplar {labels} {item.value!r} at {moment}"
