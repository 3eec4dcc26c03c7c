"""What a request holds, once every series has its id: rows by store, in shares of the writers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ingest.model import Event, Int64s, Intake, Item, Items, Measure, NewSamples, Rows
from ingest.writer.batch import concatenate, select

Share = Rows | Items
ITEM_WEIGHT = 10
"""Encoding an item takes the time of so many samples and more; nothing else happens meanwhile."""


def rows_by_store(intake: Intake, ids: dict[bytes, int]) -> dict[str, Share]:
    """Samples and items of known and of new series.

    Args:
        ids: of new series by identity; what belongs to the others is left out.
    """
    new = [samples for samples in intake.new if samples.series.identity in ids]
    shares: dict[str, Share] = {}
    shares |= _samples(intake.known, new, ids)
    shares |= _items(intake.items, new, ids)
    return shares


def parted(rows: Share, parts: int) -> list[tuple[int, Share]]:
    """Numbers of parts and the rows of each that has some: those of one series, or with one
    idempotency key, stay together."""
    if parts == 1:
        return [(0, rows)]
    number = _numbers(rows) % parts
    chosen = [(index, np.flatnonzero(number == index)) for index in range(parts)]
    return [(index, _selected(rows, positions)) for index, positions in chosen if len(positions)]


def in_pieces(rows: Share, most_rows: int) -> list[Share]:
    """The same as several batches, if it is much more than one should be: others have their turn
    in between."""
    most = most_rows if isinstance(rows, Rows) else max(1, most_rows // ITEM_WEIGHT)
    if len(rows) <= 2 * most:
        return [rows]
    everything = np.arange(len(rows))
    return [_selected(rows, everything[at : at + most]) for at in range(0, len(rows), most)]


def _numbers(rows: Share) -> Int64s:
    if isinstance(rows, Rows):
        return rows.series_id
    numbers = [
        item.item_id[0] if isinstance(item, Measure | Event) else owner_id
        for owner_id, item in zip(rows.owner_id, rows.item, strict=True)
    ]
    return np.array(numbers, np.int64)


def _selected(rows: Share, positions: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Share:
    if isinstance(rows, Rows):
        return select(rows, positions)
    chosen = positions.tolist()
    return Items([rows.owner_id[at] for at in chosen], [rows.item[at] for at in chosen])


def _samples(
    known: dict[str, Rows], new: list[NewSamples], ids: dict[bytes, int]
) -> dict[str, Rows]:
    by_target: dict[str, list[NewSamples]] = {}
    for samples in new:
        if samples.timestamp_ms:
            by_target.setdefault(samples.series.target, []).append(samples)
    shares = dict(known)
    for target, mine in by_target.items():
        rows = _rows(mine, ids)
        shares[target] = concatenate([shares[target], rows]) if target in shares else rows
    return shares


def _rows(new: list[NewSamples], ids: dict[bytes, int]) -> Rows:
    series_id: list[int] = []
    timestamp_ms: list[int] = []
    value: list[float] = []
    exact: dict[int, str] = {}
    for samples in new:
        count = len(samples.timestamp_ms)
        if samples.exact is not None:
            exact.update(dict.fromkeys(range(len(value), len(value) + count), samples.exact))
        series_id += [ids[samples.series.identity]] * count
        timestamp_ms += samples.timestamp_ms
        value += samples.value
    return Rows(
        np.array(series_id, np.int64),
        np.array(timestamp_ms, np.int64),
        np.array(value, np.float64),
        exact,
    )


def _items(
    known: dict[str, Items], new: list[NewSamples], ids: dict[bytes, int]
) -> dict[str, Items]:
    shares = {store: Items([*items.owner_id], [*items.item]) for store, items in known.items()}
    for samples in new:
        by_store: dict[str, Sequence[Item]] = {
            "histogram": samples.histograms,
            "exemplar": samples.exemplars,
            "start": samples.starts,
        }
        for store, items in by_store.items():
            for item in items:
                shares.setdefault(store, Items()).add(ids[samples.series.identity], item)
    return shares
