"""Merge the rows of several requests into what one COPY takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingest.copy_format import encode_rows
from ingest.model import Int64s, Rows
from ingest.text import time_text


@dataclass(slots=True)
class Batch:
    """Rows sorted by (series, time), keys unique: what one COPY writes."""

    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def owner_ids(self) -> list[int]:
        """Whose they are."""
        ids: list[int] = self.rows.series_id.tolist()
        return ids

    @property
    def timestamp_ms(self) -> Int64s:
        """When they are of."""
        return self.rows.timestamp_ms

    def encode(self) -> bytes:
        """As a binary COPY stream."""
        return encode_rows(self.rows)

    def describe(self, position: int) -> str:
        """One sample, for people's eyes, to come after the name of its series."""
        value = self.rows.exact.get(position) or repr(float(self.rows.value[position]))
        return f"{value} at {time_text(int(self.rows.timestamp_ms[position]))}"

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches of half the rows each."""
        middle = len(self) // 2
        return (
            Batch(select(self.rows, np.arange(middle))),
            Batch(select(self.rows, np.arange(middle, len(self)))),
        )


def merge(parts: Sequence[Rows]) -> Batch:
    """One batch of all parts. Of equal keys the first is kept, in the order of the parts."""
    rows = concatenate(parts)
    order = np.lexsort((rows.timestamp_ms, rows.series_id))  # stable: the first stays first
    series_id, timestamp_ms = rows.series_id[order], rows.timestamp_ms[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (series_id[1:] != series_id[:-1]) | (timestamp_ms[1:] != timestamp_ms[:-1])
    return Batch(select(rows, order[first]))


def concatenate(parts: Sequence[Rows]) -> Rows:
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


def select(rows: Rows, positions: npt.NDArray[np.int64]) -> Rows:
    """The rows at these positions, in this order."""
    exact = {}
    if rows.exact:
        wanted = np.flatnonzero(np.isin(positions, list(rows.exact)))
        exact = {int(new): rows.exact[int(positions[new])] for new in wanted}
    return Rows(
        rows.series_id[positions], rows.timestamp_ms[positions], rows.value[positions], exact
    )
