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


def read_varints(raw: Bytes, start: Int64s, length: Int64s) -> Varints:
    """Decode slices, none of which is empty or ends within a varint.

    Args:
        start, length: of each slice of `raw`.
    """
    ends: Int64s = length.cumsum()
    content = raw.take(np.arange(int(length.sum())) + (start - (ends - length)).repeat(length))
    last = (content < 0x80).nonzero()[0]
    number = content.take(last).astype(np.int64)
    longer = (differences(last, -1) > 1).nonzero()[0]
    for back in range(1, LONGEST):
        if not len(longer):
            break
        number[longer] = number[longer] << 7 | content[last[longer] - back] & 0x7F
        # Before the first byte stands, so to say, the last one, which ends a varint.
        longer = longer[content[last[longer] - back - 1] >= 0x80]
    number[longer] = TOO_LONG
    return Varints(number, differences(last.searchsorted(ends - 1, "right"), 0))


def differences(numbers: Int64s, before: int) -> Int64s:
    """Each number less the one before it; before the first one is `before`. (`np.diff` with
    `prepend`, which takes five times as long over a few.)"""
    result = numbers.copy()
    result[1:] -= numbers[:-1]
    result[:1] -= before
    return result
