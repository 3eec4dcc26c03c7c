"""Samples of known series, put together in the order of the request and parted by target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ingest.intake.slow_path import KnownSamples
from ingest.model import Float64s, Int64s, Rows
from ingest.series.cache import series_ids, target_numbers
from ingest.stores import TARGETS


class KnownColumns(NamedTuple):
    """Samples of known series as parallel arrays; `position` is that of the series."""

    position: Int64s
    place: Int64s
    timestamp_ms: Int64s
    value: Float64s


def rows_by_target(fast: KnownColumns, ordinary: KnownSamples) -> dict[str, Rows]:
    """Rows of each target that has some.

    Of samples with the same series and time the first one counts, so the order of the request is
    restored where both paths contributed.
    """
    columns, exact = fast, ordinary.exact
    if ordinary.place:
        columns, exact = _joined(fast, ordinary)
    targets = target_numbers(columns.place)
    if len(targets) and (targets == targets[0]).all() and not exact:
        rows = Rows(series_ids(columns.place), columns.timestamp_ms, columns.value)
        return {TARGETS[targets[0]]: rows}
    by_target = {}
    for number, target in enumerate(TARGETS):
        chosen = np.flatnonzero(targets == number)
        if len(chosen):
            by_target[target] = _rows(columns, exact, chosen)
    return by_target


def joined(parts: Sequence[KnownColumns]) -> KnownColumns:
    """All of them, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return KnownColumns(*[np.concatenate(columns) for columns in zip(*parts, strict=True)])


def _joined(fast: KnownColumns, ordinary: KnownSamples) -> tuple[KnownColumns, dict[int, str]]:
    position = np.concatenate([fast.position, np.array(ordinary.position, np.int64)])
    order = np.argsort(position, kind="stable")
    columns = KnownColumns(
        position[order],
        np.concatenate([fast.place, np.array(ordinary.place, np.int64)])[order],
        np.concatenate([fast.timestamp_ms, np.array(ordinary.timestamp_ms, np.int64)])[order],
        np.concatenate([fast.value, np.array(ordinary.value, np.float64)])[order],
    )
    if not ordinary.exact:
        return columns, {}
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    first = len(fast.position)
    return columns, {int(rank[first + index]): text for index, text in ordinary.exact.items()}


def _rows(columns: KnownColumns, exact: dict[int, str], chosen: Int64s) -> Rows:
    rows = Rows(
        series_ids(columns.place[chosen]), columns.timestamp_ms[chosen], columns.value[chosen]
    )
    for index, text in exact.items():
        row = int(np.searchsorted(chosen, index))
        if row < len(chosen) and chosen[row] == index:
            rows.exact[row] = text
    return rows
