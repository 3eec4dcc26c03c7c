"""Many varints decoded at once (protobuf's encoding: 7 bits a byte, the lowest first)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.model import Int64s

Bytes = npt.NDArray[np.uint8]

LONGEST = 5
"""Bytes of a varint of 32 bits."""
TOO_LONG = 2**40
"""What is read in place of a longer one."""


class Varints(NamedTuple):
    """Numbers that stand one after the other.

    Attributes:
        number: their values.
        ends: for each byte, how many numbers end before it or with it.
    """

    number: Int64s
    ends: Int64s


def read_varints(raw: Bytes) -> Varints:
    """Decode bytes of which the last one ends a varint."""
    is_last = raw < 0x80
    ends: Int64s = np.cumsum(is_last, dtype=np.int64)
    if not len(raw):
        return Varints(np.zeros(0, np.int64), ends)
    starts = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
    place = np.arange(len(raw)) - starts[ends - is_last]
    part = (raw & 0x7F).astype(np.int64) << (7 * np.minimum(place, LONGEST))
    part[place >= LONGEST] = TOO_LONG
    return Varints(np.add.reduceat(part, starts), ends)


def gather(starts: Int64s, lengths: Int64s) -> Int64s:
    """Indexes of all bytes of many slices, one slice after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    indexes: Int64s = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return indexes
