"""Samples in PostgreSQL's binary COPY format: one numpy block; only where a row has an exact value
is its last field replaced. Apart from `copy_format.py`, which every command loads by way of the
table of stores: numpy takes a fifth of the start of one that needs none.
"""

from __future__ import annotations

import numpy as np

from ingest.copy_format import (
    HEADER,
    NAN_FIELD,
    NULL,
    POSTGRES_EPOCH_MS,
    SAMPLE_COLUMNS,
    TRAILER,
    numeric,
)
from ingest.model import STALE_MARKER_BITS, Rows

ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("time_length", ">i4"),
        ("time", ">i8"),
        ("series_id_length", ">i4"),
        ("series_id", ">i8"),
        ("value_length", ">i4"),
        ("value_bits", ">i8"),
        ("exact_length", ">i4"),
    ]
)
"""A row of `SAMPLE_COLUMNS` whose `exact` is NULL."""


def encode_samples(rows: Rows) -> bytes:
    """A complete stream of `SAMPLE_COLUMNS`.

    Values keep their bits, NaN payloads included. A stale marker's row carries `exact = 'NaN'`,
    because a dump turns its bits into those of an ordinary NaN.
    """
    block = np.empty(len(rows), ROW)
    block["fields"] = len(SAMPLE_COLUMNS)
    block["time_length"] = block["series_id_length"] = block["value_length"] = 8
    block["time"] = (rows.timestamp_ms - POSTGRES_EPOCH_MS) * 1000
    block["series_id"] = rows.series_id
    block["value_bits"] = rows.value.view(np.int64)
    block["exact_length"] = -1

    stale = np.flatnonzero(rows.value.view(np.int64) == STALE_MARKER_BITS)
    exact = dict.fromkeys(stale.tolist(), NAN_FIELD)
    exact.update((position, numeric(decimal)) for position, decimal in rows.exact.items())

    # Cut the block at the end of each such row, where four bytes say NULL.
    content = memoryview(block.tobytes())
    pieces: list[bytes | memoryview] = [HEADER]
    start = 0
    for position in sorted(exact):
        end = (position + 1) * ROW.itemsize
        pieces += (content[start : end - len(NULL)], exact[position])
        start = end
    pieces += (content[start:], TRAILER)
    return b"".join(pieces)
