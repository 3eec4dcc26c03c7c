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
    Varints,
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
_KEPT = np.array([(1 << 8 * kept) - 1 for kept in range(9)], np.uint64)
"""Masks for the first so many of 8 bytes."""
_TYPES = 8
SAID = 4
"""References of a series that says more than its labels: type, help, unit, start."""
_SHORT_METADATA = 16
"""Bytes of what most series say of their metric: type, help and unit, each below 2**21."""
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
        digests: of all that the usual series refer to, 8 bytes each, one series after the other:
            label symbols, and, if one of them is said, type, help and unit of the metric and the
            start timestamp.
        ends: for every series, where its digests end.
    """

    tails: Tails
    digests: bytes
    ends: list[int]

    def keys(self, positions: Sequence[int]) -> list[bytes]:
        """What identifies labels and metadata of these series."""
        digests, ends = self.digests, self.ends
        starts = [0, *ends]
        if len(positions) < len(ends):
            starts = [starts[position] for position in positions]
            ends = [ends[position] for position in positions]
        return [
            digests[start:end] for start, end in zip(starts, ends, strict=False)
        ]  # one start more


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
    usual = np.flatnonzero(layout.is_usual)
    refs = read_varints(raw, layout.refs_start[usual], layout.refs_bytes[usual])
    metadata = _metadata(raw, layout.metadata_start[usual], layout.metadata_bytes[usual], symbols)
    metadata = _with_starts(metadata, layout.start_ms[usual], symbols)
    is_right = (refs.size % 2 == 0) & ~refs.have(refs.number >= symbols) & metadata.is_right
    kept = usual[is_right]

    starts = layout.start_ms[usual].astype("<i8").tobytes()  # `start_digest` of each
    all_digests = np.frombuffer(digests + _TYPE_DIGESTS + starts, np.int64)
    referred = _referred(refs, metadata, is_right)
    sizes = np.zeros(len(series), np.int64)
    sizes[kept] = referred.size[is_right] * DIGEST_BYTES
    length = np.zeros(len(series), np.int64)
    length[kept] = 1
    return Columns(
        Tails(length, layout.timestamp_ms, layout.value),
        all_digests.take(referred.number).tobytes(),
        np.cumsum(sizes).tolist(),
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
        tag = np.where(is_tag, said.number, np.roll(said.number, 1))
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
    is_first = length != np.roll(length, 1)
    for offset in range(0, _SHORT_METADATA, 8):
        word = words[start + offset] & _KEPT.take(np.clip(length - offset, 0, 8))
        is_first |= word != np.roll(word, 1)
    is_first |= length > _SHORT_METADATA
    is_first[:1] = True
    first = np.flatnonzero(is_first)
    return first[length[first] > 0], first[np.cumsum(is_first) - 1]


def _with_starts(metadata: _Metadata, start_ms: Int64s, symbols: int) -> _Metadata:
    """With start timestamps, whose digests come after those of symbols and types, in order."""
    metadata.references[:, -1] = symbols + _TYPES + np.arange(len(start_ms))
    return metadata._replace(is_said=metadata.is_said | (start_ms > 0))


def _referred(refs: Varints, metadata: _Metadata, kept: Bools) -> Varints:
    """What the series that are kept refer to: labels, then what is said of the metric."""
    number = refs.number if kept.all() else refs.number[np.repeat(kept, refs.size)]
    labels = np.where(kept, refs.size, 0)
    size = np.where(kept, refs.size + SAID * metadata.is_said, 0)
    said = np.flatnonzero(kept & metadata.is_said)
    if not len(said):
        return Varints(number, size)
    end = np.cumsum(size)
    referred = np.empty(int(end[-1]), np.int64)
    shift = (end - size) - (np.cumsum(labels) - labels)
    referred[np.arange(len(number)) + np.repeat(shift, labels)] = number
    referred[end[said][:, None] + np.arange(-SAID, 0)] = metadata.references[said]
    return Varints(referred, size)
