"""The usual series of a remote write 2.0 request, all read at once with numpy.

Encoders that write fields in order make of a series with one sample::

    0a <length> <label references: varints>
    12 <length> [09 <8 bytes: value>] 10 <6 bytes: timestamp> [18 <6 bytes: start timestamp>]
    [2a <length> <metadata: pairs of a tag byte and a varint>]

(0a: field `labels_refs`; 12: `samples`; 2a: `metadata`; the value 0 is left out; a varint of 6
bytes is a timestamp from 1971 to 2109.) All other series are left to be parsed one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.model import Float64s, Int64s
from ingest.wire.remote_write.tails import Tails
from ingest.wire.remote_write.varints import (
    TOO_LONG,
    Bytes,
    read_varints,
    six_bytes,
)

Bools = npt.NDArray[np.bool_]

DIGEST_BYTES = 8
"""Of XXH3-64 with a seed that nobody outside knows. What could be confused, once in 2**64 pairs of
texts, are two texts at the same place of otherwise equal series of one tenant."""
_PADDING = bytes(64)
"""Behind the last series, so that looking for what is not there finds zeros."""
_TIMESTAMP_BYTES = 6
_SIX_MARKS = 0x8080_8080_8080
"""The bits that are set in all bytes of a varint but the last one; here, in six bytes."""
_TYPES = 8
SAID = 4
"""References of a series that says more than its labels: type, help, unit, start."""
_SAID = np.dtype(f"V{SAID * DIGEST_BYTES}")
"""Their digests as one value, which numpy gives back as bytes."""
_SHORT_METADATA = 16
"""Bytes of what most series say of their metric: type, help and unit, each below 2**21."""
_KEPT = np.array(
    [[(1 << 8 * min(max(kept - first, 0), 8)) - 1 for kept in range(_SHORT_METADATA + 1)]
     for first in (0, 8)],
    np.uint64,
)  # fmt: skip
"""Masks of the first and of the second 8 bytes, where so many are kept."""
_METADATA_FIELDS = np.full(256, -1)
_METADATA_FIELDS[[0x08, 0x18, 0x20]] = 0, 1, 2
"""Column of a reference by its tag: type, help, unit."""


def type_digest(number: int) -> bytes:
    """What stands for a metric type among the digests of symbols."""
    return number.to_bytes(DIGEST_BYTES, "little", signed=True)


def start_digest(start_ms: int) -> bytes:
    """What stands for a start timestamp among them; 0 is unset."""
    return start_ms.to_bytes(DIGEST_BYTES, "little", signed=True)


_TYPE_DIGESTS = b"".join(map(type_digest, range(_TYPES)))


class Columns(NamedTuple):
    """What stands in the usual series.

    Attributes:
        tails: timestamps and values; its length is 0 where a series is not of the usual shape.
        digests: of all labels of the usual series, 8 bytes a symbol, one series after the other.
        ends: for every series, where its digests end.
        said: for every series the digests of type, help and unit of the metric and of the start
            timestamp, nothing where none of them is said; empty where no series says any.
    """

    tails: Tails
    digests: bytes
    ends: list[int]
    said: list[bytes]

    def keys(self, positions: Sequence[int]) -> list[bytes]:
        """What identifies labels and metadata of these series."""
        digests, ends, said = self.digests, self.ends, self.said
        starts = [0, *ends]
        if len(positions) < len(ends):
            starts = [starts[position] for position in positions]
            ends = [ends[position] for position in positions]
            said = [said[position] for position in positions] if said else []
        if said:
            spans = zip(starts, ends, said, strict=False)  # one start more
            return [digests[start:end] + more for start, end, more in spans]
        return [digests[start:end] for start, end in zip(starts, ends, strict=False)]


class _Layout(NamedTuple):
    """Where the parts of each series are; without meaning where `is_usual` does not hold."""

    is_usual: Bools
    refs_start: Int64s
    refs_bytes: Int64s
    metadata_start: Int64s
    metadata_bytes: Int64s
    timestamp_ms: Int64s
    value: Float64s
    start_ms: Int64s


class _Metadata(NamedTuple):
    """What each series says of its metric, and when counting began.

    Attributes:
        is_right: whether it can be understood; nothing said is right too.
        is_said: whether it says something.
        references: digests of type, help, unit and start timestamp, one row a series.
    """

    is_right: Bools
    is_said: Bools
    references: Int64s


def read_columns(series: Sequence[bytes], digests: bytes) -> Columns:
    """Read the usual ones of these series.

    Args:
        series: bytes of TimeSeries messages.
        digests: of every symbol, 8 bytes each.
    """
    raw = np.frombuffer(b"".join([*series, _PADDING]), np.uint8)
    symbols = len(digests) // DIGEST_BYTES
    layout = _layout(raw, np.fromiter(map(len, series), np.int64, len(series)))
    usual = layout.is_usual.nonzero()[0]
    refs = read_varints(raw, layout.refs_start[usual], layout.refs_bytes[usual])
    metadata = _metadata(raw, layout.metadata_start[usual], layout.metadata_bytes[usual], symbols)
    metadata = _with_starts(metadata, layout.start_ms[usual], symbols)
    is_right = (refs.size % 2 == 0) & ~refs.have(refs.number >= symbols) & metadata.is_right
    kept = usual[is_right]

    number = refs.number if is_right.all() else refs.number[is_right.repeat(refs.size)]
    sizes = np.zeros(len(series), np.int64)
    sizes[kept] = refs.size[is_right] * DIGEST_BYTES
    length = np.zeros(len(series), np.int64)
    length[kept] = 1
    said: list[bytes] = []
    if metadata.is_said.any():
        said = [b""] * len(series)
        starts = layout.start_ms[usual].astype("<i8").tobytes()  # `start_digest` of each
        each = np.frombuffer(digests + _TYPE_DIGESTS + starts, np.int64).take(metadata.references)
        saying = metadata.is_said.nonzero()[0]
        whats = each[saying].view(_SAID).ravel().tolist()
        for position, what in zip(usual[saying].tolist(), whats, strict=True):
            said[position] = what
    return Columns(
        Tails(length, layout.timestamp_ms, layout.value),
        np.frombuffer(digests, np.int64).take(number).tobytes(),
        sizes.cumsum().tolist(),
        said,
    )


def _layout(raw: Bytes, lengths: Int64s) -> _Layout:
    ends = np.cumsum(lengths)
    refs_bytes, refs_start = _length_at(raw, ends - lengths + 1)
    refs_end = np.minimum(refs_start + refs_bytes, ends)
    is_usual = (lengths > 0) & (raw[ends - lengths] == 0x0A) & (refs_bytes > 0)
    is_usual &= (refs_start + refs_bytes < ends) & (raw[refs_end - 1] < 0x80)

    sample, sample_bytes = refs_end + 2, raw[refs_end + 1]
    has_value = raw[sample] == 0x09
    timestamp = sample + np.where(has_value, 10, 1)
    is_usual &= (raw[refs_end] == 0x12) & (raw[timestamp - 1] == 0x10)
    timestamp_ms, is_time = _six_byte_varints(raw, timestamp)
    start = timestamp + _TIMESTAMP_BYTES
    shortest = np.where(has_value, 9, 0) + 1 + _TIMESTAMP_BYTES
    has_start = sample_bytes == shortest + 1 + _TIMESTAMP_BYTES
    start_ms, is_start = np.zeros_like(ends), has_start
    if has_start.any():
        start_ms, is_start = _six_byte_varints(raw, start + 1)
        is_start &= raw[start] == 0x18
    is_usual &= is_time & ((sample_bytes == shortest) | (has_start & is_start))
    value = _at_every_byte(raw, "<f8")[sample + 1].astype(np.float64)

    sample_end = np.minimum(sample + sample_bytes, ends)
    metadata_bytes, metadata_start = _length_at(raw, sample_end + 1)
    is_described = (raw[sample_end] == 0x2A) & (metadata_start + metadata_bytes == ends)
    is_described &= (metadata_bytes == 0) | (raw[ends - 1] < 0x80)
    is_usual &= (sample + sample_bytes == ends) | ((sample_end < ends) & is_described)
    return _Layout(
        is_usual,
        refs_start,
        refs_bytes,
        metadata_start,
        np.where(sample_end == ends, 0, metadata_bytes),
        timestamp_ms,
        np.where(has_value, value, 0.0),
        np.where(has_start, start_ms, 0),
    )


def _length_at(raw: Bytes, at: Int64s) -> tuple[Int64s, Int64s]:
    """A length of one or two bytes, and where what it is about starts; `TOO_LONG` where it has more
    bytes."""
    low, high = raw[at].astype(np.int64), raw[at + 1].astype(np.int64)
    is_long = low >= 0x80
    length = np.where(is_long, (low & 0x7F) | high << 7, low)
    length[is_long & (high >= 0x80)] = TOO_LONG
    return length, at + 1 + is_long


def _six_byte_varints(raw: Bytes, at: Int64s) -> tuple[Int64s, Bools]:
    """Numbers, and where they are varints of exactly six bytes."""
    word = _at_every_byte(raw, "<i8")[at].astype(np.int64)
    return six_bytes(word), word & _SIX_MARKS == _SIX_MARKS >> 8


def _at_every_byte(raw: Bytes, dtype: str) -> npt.NDArray[Any]:
    """What 8 bytes say that begin at each place of `raw`, the last seven left out."""
    return np.ndarray((len(raw) - 7,), dtype, raw.data, strides=(1,))


def _metadata(raw: Bytes, start: Int64s, length: Int64s, symbols: int) -> _Metadata:
    """What these series say of their metrics, from slices that may be empty.

    Args:
        symbols: how many there are.
    """
    references = np.zeros((len(start), SAID), np.int64)
    is_right: Bools = np.ones(len(start), bool)
    is_said: Bools = np.zeros(len(start), bool)
    described, repeats = _first_of_runs(raw, start, length)
    if len(described):
        said = read_varints(raw, start[described], length[described])
        is_tag = said.place % 2 == 0
        tag = said.number.copy()  # a value's is the number before it; a slice begins with one
        tag[1:][~is_tag[1:]] = said.number[:-1][~is_tag[1:]]
        field = _METADATA_FIELDS[np.minimum(tag, 255)]
        bound = np.where(field == 0, _TYPES, symbols)
        is_wrong = (field < 0) | (~is_tag & (said.number >= bound))
        is_right[described] = (said.size % 2 == 0) & ~said.have(is_wrong)
        owner = described[said.owner]
        values = ~is_tag & is_right[owner]
        references[owner[values], field[values]] = said.number[values]
        is_said[references.any(axis=1)] = True
    references[:, 0] += symbols
    return _Metadata(is_right[repeats], is_said[repeats], references[repeats])


def _first_of_runs(raw: Bytes, start: Int64s, length: Int64s) -> tuple[Int64s, Int64s]:
    """Positions of slices that are not empty and differ from the one before them; and, for every
    slice, the position of the one it is equal to: series of one metric say the same of it."""
    words = _at_every_byte(raw, "<u8")
    kept = np.minimum(length, _SHORT_METADATA)
    is_first = length > _SHORT_METADATA
    is_first[:1] = True
    is_first[1:] |= length[1:] != length[:-1]
    for masks, offset in zip(_KEPT, (0, 8), strict=True):
        word = words[start + offset] & masks.take(kept)
        is_first[1:] |= word[1:] != word[:-1]
    first = is_first.nonzero()[0]
    return first[length[first] > 0], first[is_first.cumsum() - 1]


def _with_starts(metadata: _Metadata, start_ms: Int64s, symbols: int) -> _Metadata:
    """With start timestamps, whose digests come after those of symbols and types, in order."""
    metadata.references[:, -1] = symbols + _TYPES + np.arange(len(start_ms))
    return metadata._replace(is_said=metadata.is_said | (start_ms > 0))
