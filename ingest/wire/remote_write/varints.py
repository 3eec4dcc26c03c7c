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
    """The varints in several slices.

    Attributes:
        number: their values, one slice after the other.
        size: how many each slice has.
    """

    number: Int64s
    size: Int64s

    @property
    def owner(self) -> Int64s:
        """For each number, in which slice it is."""
        return np.repeat(np.arange(len(self.size)), self.size)

    @property
    def place(self) -> Int64s:
        """For each number, its place in its slice."""
        ends = np.cumsum(self.size)
        places: Int64s = np.arange(len(self.number)) - np.repeat(ends - self.size, self.size)
        return places

    def have(self, condition: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """For each slice, whether the condition holds for one of its numbers."""
        found = np.zeros(len(self.size), bool)
        if condition.any():
            found[self.owner[condition]] = True
        return found


def six_bytes(words: Int64s) -> Int64s:
    """The varints of exactly six bytes that are the lowest six of these words: groups of 7 bits are
    moved together, two by two (14 bits each), then these three."""
    pairs = words & 0x007F_007F_007F | words >> 1 & 0x3F80_3F80_3F80
    number: Int64s = pairs & 0x3FFF | pairs >> 2 & 0x0FFF_C000 | pairs >> 4 & 0x3FF_F000_0000
    return number


def read_varints(rows: Bytes, length: Int64s) -> Varints:
    """Decode slices, none of which is empty or ends within a varint.

    Args:
        rows: a slice each, behind a byte below 0x80; what comes after it does not matter.
        length: of each slice.
    """
    width = rows.shape[1]
    narrow = np.min_scalar_type(width)
    is_inside = np.arange(width, dtype=narrow) <= length.astype(narrow)[:, None]
    is_inside[:, 0] = False
    content, is_end = rows.ravel(), (rows < 0x80).ravel()
    is_last = is_inside.ravel() & is_end
    last = is_last.nonzero()[0]
    number = content.take(last).astype(np.int64)
    is_longer = is_last
    is_longer[1:] &= ~is_end[:-1]
    longer = is_longer.take(last).nonzero()[0]
    at = last[longer]
    for _ in range(1, LONGEST):
        if not len(longer):
            break
        at -= 1
        number[longer] = number[longer] << 7 | content[at] & 0x7F
        goes_on = content[at - 1] >= 0x80
        longer, at = longer[goes_on], at[goes_on]
    number[longer] = TOO_LONG
    ends = last.searchsorted(np.arange(1, len(rows) + 1) * width)
    return Varints(number, differences(ends, 0))


def differences(numbers: Int64s, before: int) -> Int64s:
    """Each number less the one before it; before the first one is `before`. (`np.diff` with
    `prepend`, which takes five times as long over a few.)"""
    result = numbers.copy()
    result[1:] -= numbers[:-1]
    result[:1] -= before
    return result
