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
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.model import Float64s, Int64s

LONG_TAIL = 18
SHORT_TAIL = 9

_TIMESTAMP = 12
"""Where the varint of the timestamp begins; in both patterns it ends the series."""
_VALUE = slice(3, 11)

Bytes = npt.NDArray[np.uint8]


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


def read_tails(series: Sequence[bytes]) -> Tails:
    """Read the tails of `series`, parallel to it."""
    tails = _last_bytes(series)
    is_varint = (tails[:, _TIMESTAMP:-1] >= 0x80).all(axis=1) & (tails[:, -1] < 0x80)
    is_timed = is_varint & (tails[:, 11] == 0x10)
    is_long = is_timed & _equal(tails, 0, b"\x12\x10\x09")
    is_short = is_timed & _equal(tails, 9, b"\x12\x07") & ~is_long
    value = np.ascontiguousarray(tails[:, _VALUE]).view("<f8").reshape(-1).astype(np.float64)
    value[is_short] = 0.0
    length = np.where(is_long, LONG_TAIL, np.where(is_short, SHORT_TAIL, 0))
    return Tails(length, _timestamps(tails), value)


def _last_bytes(series: Sequence[bytes]) -> Bytes:
    """The last 18 bytes of each series, shape (series, 18); zeros before a shorter one."""
    joined = b"".join([raw[-LONG_TAIL:] for raw in series])
    if len(joined) != LONG_TAIL * len(series):
        joined = b"".join([raw[-LONG_TAIL:].rjust(LONG_TAIL, b"\0") for raw in series])
    return np.frombuffer(joined, np.uint8).reshape(len(series), LONG_TAIL)


def _equal(tails: Bytes, start: int, expected: bytes) -> npt.NDArray[np.bool_]:
    wanted = np.frombuffer(expected, np.uint8)
    result: npt.NDArray[np.bool_] = (tails[:, start : start + len(expected)] == wanted).all(axis=1)
    return result


def _timestamps(tails: Bytes) -> Int64s:
    """The varints at the end, 7 bits a byte, the lowest first."""
    total = np.zeros(len(tails), np.int64)
    for place in range(6):
        total |= (tails[:, _TIMESTAMP + place] & 0x7F).astype(np.int64) << (7 * place)
    return total
