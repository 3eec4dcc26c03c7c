"""The usual series of a remote write 2.0 request, all read at once with numpy.

Encoders that write fields in order make of a series with one sample::

    0a <length> <label references: varints>
    12 <length> [09 <8 bytes: value>] 10 <6 bytes: time stamp> [18 <6 bytes: start time stamp>]
    [2a <length> <metadata: pairs of a tag byte and a varint>]

(0a: field `labels_refs`; 12: `samples`; 2a: `metadata`; the value 0 is left out; a varint of 6
bytes is a time stamp from 1971 to 2109.) All other series are left to be parsed one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.model import Float64s, Int64s
from ingest.wire.tails import Tails
from ingest.wire.varints import TOO_LONG, Bytes, gather, read_varints

Bools = npt.NDArray[np.bool_]

DIGEST_BYTES = 16
_PADDING = bytes(64)
"""Behind the last series, so that looking for what is not there finds zeros."""
_TIMESTAMP_BYTES = 6
_TYPE, _HELP_REF, _UNIT_REF = 0x08, 0x18, 0x20
_METADATA = np.dtype([("type", "<i8"), ("help", "V16"), ("unit", "V16")])


class Columns(NamedTuple):
    """What stands in the usual series.

    Attributes:
        tails: time stamps and values; its length is 0 where a series is not of the usual shape.
        labels: the digests of all label symbols of the usual series, one series after the other.
        label_ends: for every series, where its digests end in `labels`.
        metadata: what the key of a series says of its metadata, by position.
    """

    tails: Tails
    labels: bytes
    label_ends: list[int]
    metadata: dict[int, bytes]

    def keys(self, positions: Sequence[int]) -> list[bytes]:
        """What identifies labels and metadata of these series."""
        labels, ends, metadata = self.labels, [*self.label_ends, 0], self.metadata
        keys = [labels[ends[position - 1] : ends[position]] for position in positions]
        if not metadata:
            return keys
        return [key + metadata.get(at, b"") for key, at in zip(keys, positions, strict=True)]


class _Layout(NamedTuple):
    """Where the parts of each series are; without meaning where `is_usual` does not hold."""

    is_usual: Bools
    refs_start: Int64s
    refs_bytes: Int64s
    metadata_start: Int64s
    metadata_bytes: Int64s
    timestamp_ms: Int64s
    value: Float64s


class _Numbers(NamedTuple):
    """The varints in a part of several series.

    Attributes:
        number: of all of them.
        owner: whose it is, parallel to `number`, counted from 0.
        place: its place among those of its owner, parallel to `number`.
        size: how many each owner has.
    """

    number: Int64s
    owner: Int64s
    place: Int64s
    size: Int64s


def read_columns(series: Sequence[bytes], digests: bytes) -> Columns:
    """Read the usual ones of these series.

    Args:
        series: bytes of TimeSeries messages.
        digests: of every symbol, 16 bytes each.
    """
    raw = np.frombuffer(b"".join([*series, _PADDING]), np.uint8)
    symbols = np.frombuffer(digests, f"V{DIGEST_BYTES}")
    layout = _layout(raw, np.fromiter(map(len, series), np.int64, len(series)))
    usual = np.flatnonzero(layout.is_usual)
    refs = _numbers(raw, layout.refs_start[usual], layout.refs_bytes[usual])
    is_right = (refs.size % 2 == 0) & ~_has(refs, refs.number >= len(symbols))
    metadata, is_understood = _metadata(raw, layout, usual[is_right], symbols)
    is_right[is_right] = is_understood
    kept = usual[is_right]

    label_bytes = np.zeros(len(series), np.int64)
    label_bytes[kept] = refs.size[is_right] * DIGEST_BYTES
    length = np.zeros(len(series), np.int64)
    length[kept] = 1
    return Columns(
        Tails(length, layout.timestamp_ms, layout.value),
        symbols[refs.number[is_right[refs.owner]]].tobytes(),
        np.cumsum(label_bytes).tolist(),
        metadata,
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
    is_start = (raw[start] == 0x18) & _six_byte_varints(raw, start + 1)[1]
    is_usual &= is_time & ((sample_bytes == shortest) | (has_start & is_start))
    value = raw[sample[:, None] + np.arange(1, 9)].view("<f8").reshape(-1).astype(np.float64)

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
    places = np.arange(_TIMESTAMP_BYTES)
    content = raw[at[:, None] + places]
    is_varint = (content[:, :-1] >= 0x80).all(axis=1) & (content[:, -1] < 0x80)
    return ((content & 0x7F).astype(np.int64) << (7 * places)).sum(axis=1), is_varint


def _numbers(raw: Bytes, start: Int64s, length: Int64s) -> _Numbers:
    """The varints in these slices, none of which is empty or ends within a varint."""
    varints = read_varints(raw[gather(start, length)])
    last = varints.ends[np.cumsum(length) - 1] if len(length) else np.zeros(0, np.int64)
    size = np.diff(last, prepend=0)
    owner = np.repeat(np.arange(len(length)), size)
    place = np.arange(len(owner)) - np.repeat(last - size, size)
    return _Numbers(varints.number, owner, place, size)


def _has(numbers: _Numbers, condition: Bools) -> Bools:
    """For each owner, whether the condition holds for one of its numbers."""
    found = np.zeros(len(numbers.size), bool)
    found[numbers.owner[condition]] = True
    return found


def _metadata(
    raw: Bytes, layout: _Layout, chosen: Int64s, symbols: npt.NDArray[np.void]
) -> tuple[dict[int, bytes], Bools]:
    """What the keys of these series say of metadata, and which of them can be understood."""
    length = layout.metadata_bytes[chosen]
    described = np.flatnonzero(length)
    is_understood = np.ones(len(chosen), bool)
    if not len(described):
        return {}, is_understood
    said = _numbers(raw, layout.metadata_start[chosen[described]], length[described])
    is_tag = said.place % 2 == 0
    tag = np.where(is_tag, said.number, np.roll(said.number, 1))
    is_ref = ~is_tag & (tag != _TYPE)
    is_wrong = (is_tag & ~np.isin(tag, (_TYPE, _HELP_REF, _UNIT_REF))) | (
        ~is_tag & (said.number >= np.where(is_ref, len(symbols), TOO_LONG))
    )
    is_right = (said.size % 2 == 0) & ~_has(said, is_wrong)
    is_understood[described] = is_right

    records = np.zeros(len(described), _METADATA)
    records["help"] = records["unit"] = symbols[0]
    for field, number in (("help", _HELP_REF), ("unit", _UNIT_REF)):
        here = ~is_tag & (tag == number) & is_right[said.owner]
        records[field][said.owner[here]] = symbols[said.number[here]]
    here = ~is_tag & (tag == _TYPE)
    records["type"][said.owner[here]] = said.number[here]
    is_said = _has(said, ~is_tag & (said.number != 0)) & is_right
    keys = {
        int(chosen[described[at]]): records[at].tobytes() for at in np.flatnonzero(is_said).tolist()
    }
    return keys, is_understood
