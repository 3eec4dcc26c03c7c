"""One sample at the end of a series' bytes, of all series of a request at once.

A TimeSeries of remote write 1.0 with one sample, its fields written in order, ends in one of
two ways::

    12 10 09 <8 bytes: value> 10 <6 bytes: timestamp>      18 bytes
    12 07 10 <6 bytes: timestamp>                          9 bytes, the value 0 is left out

(12: field `samples`; 09: `value`; 10: `timestamp`, a varint of 6 bytes from 1971 to 2109.) What
stands before is the labels, provided that these bytes are known to be labels and nothing else: only
then are the last bytes a field of their own and not the inside of another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.model import Float64s, Int64s
from ingest.wire.remote_write.varints import six_bytes

LONG_TAIL = 18
SHORT_TAIL = 9
MANY = 500
"""From so many series on it pays to compute with numpy where each of them ends."""

_HEAD, _VALUE, _SHORT_HEAD, _TAGGED = 0, 3, 9, 10
"""Where, in the last 18 bytes, a word begins of which the low bytes are the head of the long shape,
which is the value, of which the low bytes are the head of the short shape, and whose bytes are one
more, the tag 10 and the timestamp."""
_TAG_AND_MARKS, _MARKS = 0x8080_8080_8080FF, 0x0080_8080_8080_00
"""Of a tag and the six bytes behind it: all bits of the tag, and those that say that a varint goes
on, which all bytes of it have but the last."""


class Tails(NamedTuple):
    """What the last bytes of each series say if they are a sample.

    Attributes:
        length: bytes of the tail: 18, 9, or 0 where it has neither shape. (Of 2.0: not 0 where the
            series has the usual shape.)
        timestamp_ms: milliseconds since 1970; meaningless where `length` is 0.
        value: NaN bits as sent; meaningless where `length` is 0.
    """

    length: Int64s
    timestamp_ms: Int64s
    value: Float64s


class Times(NamedTuple):
    """Timestamps, meaningless where `is_right` does not hold."""

    is_right: npt.NDArray[np.bool_]
    timestamp_ms: Int64s


def read_tails(series: Sequence[bytes], payload: bytes = b"") -> Tails:
    """Read the tails of `series`, at least one, parallel to it.

    Args:
        payload: the message whose fields they are, if it is at hand.
    """
    last: bytes | npt.NDArray[np.uint8] = b""
    if len(series) >= MANY and payload:
        # Where each ends in the payload, if there are only series, with heads (a tag, and a length
        # of 7 bits a byte) as short as can be: whatever else stands there makes it longer.
        lengths = np.fromiter(map(len, series), np.int64, len(series))
        heads = 2 + (lengths > 0x7F) + (lengths > 0x3FFF) + (lengths > 0x1F_FFFF)
        ends = np.cumsum(lengths + heads)
        if ends[-1] == len(payload) and lengths.min() >= LONG_TAIL:
            # One value a tail: numpy copies it at once, and not byte by byte.
            windows = np.ndarray((len(payload) - LONG_TAIL + 1,), f"V{LONG_TAIL}", payload, 0, (1,))
            last = windows[ends - LONG_TAIL].view(np.uint8)
    if not len(last):
        last = b"".join([raw[-LONG_TAIL:] for raw in series])
        if len(last) != LONG_TAIL * len(series):  # some are shorter: zeros before them
            last = b"".join([raw[-LONG_TAIL:].rjust(LONG_TAIL, b"\0") for raw in series])

    def column(dtype: str, start: int) -> npt.NDArray[Any]:
        return np.ndarray((len(series),), dtype, last, start, (LONG_TAIL,))

    time = tagged_times(column("<i8", _TAGGED), 0x10)
    is_long = time.is_right & (column("<u4", _HEAD) & 0xFFFFFF == 0x091012)
    is_short = time.is_right & (column("<u2", _SHORT_HEAD) == 0x0712) & ~is_long
    value = column("<f8", _VALUE).astype(np.float64)
    value[is_short] = 0.0
    length = LONG_TAIL * is_long + SHORT_TAIL * is_short
    return Tails(length, time.timestamp_ms, value)


def tagged_times(words: Int64s, tag: int) -> Times:
    """Times that are varints of six bytes.

    Args:
        words: a byte that does not matter, then the tag and the varint.
    """
    tagged = words >> 8
    return Times(tagged & _TAG_AND_MARKS == _MARKS | tag, six_bytes(tagged >> 8))
