"""The usual series of a remote write 2.0 request, all read at once with numpy.

Encoders that write fields in order make of a series with one sample::

    0a <length> <label references: varints>
    12 <length> [09 <8 bytes: value>] 10 <6 bytes: timestamp> [18 <6 bytes: start timestamp>]
    [2a <length> <metadata: pairs of a tag byte and a varint>]

(0a: field `labels_refs`; 12: `samples`; 2a: `metadata`; the value 0 is left out; a varint of 6
bytes is a timestamp from 1971 to 2109.) All other series are left to be parsed one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from itertools import repeat
from operator import mul
from secrets import token_bytes
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128_digest

from ingest.model import Float64s, Int64s
from ingest.wire.remote_write.tails import Tails, tagged_times
from ingest.wire.remote_write.varints import Bytes, read_varints

Bools = npt.NDArray[np.bool_]

_PADDING_BYTES = 64
"""Behind the last series and the widest row, so that looking for what is not there finds zeros."""
_SAMPLE_BYTES = 32
"""Looked at where a sample should begin, which has 27 at most."""
_METADATA_BYTES = 16
"""Of what usual series say of their metric: type, help and unit, each below 2**21."""
_DESCRIBED_BYTES = 2 + _METADATA_BYTES
_USUAL_REFS_BYTES = 255
"""Of label references: some 120 of them, unless all series of the request have many."""
_TYPES = 8
_KEPT = np.array(
    [[(1 << 8 * min(max(kept - first, 0), 8)) - 1 for kept in range(_METADATA_BYTES + 1)]
     for first in (0, 8)],
    np.uint64,
)  # fmt: skip
"""Masks of the first and of the second 8 bytes, where so many are kept."""
_METADATA_FIELDS = np.full(256, -1)
_METADATA_FIELDS[[0x08, 0x18, 0x20]] = 0, 1, 2
"""Column of a reference by its tag: type, help, unit."""
_64_BITS = (1 << 64) - 1
_FACTORS = np.frombuffer(token_bytes(2 * 6 * 8), np.int64).reshape(2, 6) | 1
"""Of each sum: what is added to digests of names and of values; by what type, help, unit and start
timestamp are multiplied."""


class Symbols:
    """The texts that a request's series refer to, as numbers that make keys of series.

    A key is two sums of 64 bits, modulo 2**64: over the labels of a series the products of its
    name's and its value's numbers, made of their digests; and what it says of its metric and its
    start, each times a factor of its own. The order of labels means nothing, as in a series. The
    digests are XXH3-128 with a secret seed, and factors are secret. Numbers of names are odd, so
    that those of two values differ after the product, too; what two label sets have in common by
    chance are both sums, whose numbers are independent: once in more than 2**100 pairs.

    Args:
        texts: as protobuf has them: thousands are hashed one by one, and made a list only for
            those who need it.
        seed: of the digests, 64 bits that nobody outside knows.
    """

    def __init__(self, texts: Sequence[bytes], seed: int) -> None:
        self._texts = texts
        digests = b"".join(map(xxh3_128_digest, texts, repeat(seed)))
        first, second = np.frombuffer(digests, "<i8").reshape(-1, 2).T.astype(np.int64)
        self._said = (first, second)
        self._names = (first | 1, second + _FACTORS[1, 0] | 1)
        self._values = (second, first + _FACTORS[1, 1])

    def __len__(self) -> int:
        return len(self._said[0])

    @cached_property
    def texts(self) -> Sequence[bytes]:
        """The texts themselves."""
        return self._texts[:]

    def keys(self, refs: Int64s, size: Int64s, said: Int64s) -> Int64s:
        """Keys of series, shape (series, 2).

        Args:
            refs: of names and values in turns, of one series after the other.
            size: how many each series has, an even number above 0.
            said: what is added for the rest, shape (series, 2).
        """
        names, values = refs[::2].copy(), refs[1::2].copy()  # each is looked up twice
        starts = (size.cumsum() - size) >> 1
        sums = [
            np.add.reduceat(factor.take(names) * other.take(values), starts)
            for factor, other in zip(self._names, self._values, strict=True)
        ]
        keys: Int64s = np.stack(sums, axis=1) + said
        return keys

    def said(self, references: Int64s) -> Int64s:
        """What metadata add to keys, shape (metadata, 2).

        Args:
            references: type, help and unit of each, shape (metadata, 3); 0 is not said.
        """
        kind, texts = references[:, 0], references[:, 1:]
        sums = [
            (digests.take(texts) * (texts > 0) * factors[3:5]).sum(axis=1) + kind * factors[2]
            for digests, factors in zip(self._said, _FACTORS, strict=True)
        ]
        return np.stack(sums, axis=1)

    def key(self, refs: Sequence[int], said: Sequence[int], start_ms: int) -> bytes:
        """The key of one series, in Python's numbers.

        Args:
            refs: of names and values in turns; there are such symbols.
            said: type, and references of help and unit; 0 is not said.
        """
        kind, *texts = said
        sums = []
        for (name, value, digest), factors in zip(self._views, _FACTORS.tolist(), strict=True):
            labels = map(mul, map(name.__getitem__, refs[::2]), map(value.__getitem__, refs[1::2]))
            rest = [digest[ref] * by for ref, by in zip(texts, factors[3:5], strict=True) if ref]
            sums.append(sum(labels) + kind * factors[2] + sum(rest) + start_ms * factors[5])
        return b"".join([(each & _64_BITS).to_bytes(8, sys.byteorder) for each in sums])

    @cached_property
    def _views(self) -> list[tuple[memoryview, ...]]:
        """Of both sums, numbers that are quickly read one by one."""
        columns = zip(self._names, self._values, self._said, strict=True)
        return [tuple(each.data for each in half) for half in columns]


class Columns(NamedTuple):
    """What stands in the usual series.

    Attributes:
        tails: timestamps and values; its length is 0 where a series is not of the usual shape.
        keys: what identifies labels, metadata and start, shape (series, 2); meaningless where the
            length is 0.
    """

    tails: Tails
    keys: Int64s


class _Layout(NamedTuple):
    """Where the parts of each series are and what they hold; without meaning where `is_usual` does
    not hold.

    Attributes:
        before_refs: where the byte before the first label reference is.
        described: the bytes of what is said of the metric, with tag and length; zeros, if nothing.
    """

    is_usual: Bools
    before_refs: Int64s
    refs_bytes: Int64s
    described: Bytes
    timestamp_ms: Int64s
    value: Float64s
    start_ms: Int64s


def read_columns(series: Sequence[bytes], symbols: Symbols) -> Columns:
    """Read the usual ones of these series.

    Args:
        series: bytes of TimeSeries messages.
    """
    lengths = np.fromiter(map(len, series), np.int64, len(series))
    # Those with far more references than others would make the rows of all of them long.
    widest = min(max(_USUAL_REFS_BYTES, 8 * int(lengths.mean())), int(lengths.max()))
    raw = np.frombuffer(b"".join([*series, bytes(_PADDING_BYTES + widest)]), np.uint8)
    layout = _layout(raw, lengths, widest)
    if layout.is_usual.all():
        is_read, keys = _keys(raw, layout, symbols)
    else:
        usual = layout.is_usual.nonzero()[0]
        is_read, keys = np.zeros(len(series), bool), np.zeros((len(series), 2), np.int64)
        if len(usual):
            part = _Layout._make(column[usual] for column in layout)
            is_read[usual], keys[usual] = _keys(raw, part, symbols)
    return Columns(Tails(is_read.astype(np.int64), layout.timestamp_ms, layout.value), keys)


def _keys(raw: Bytes, layout: _Layout, symbols: Symbols) -> tuple[Bools, Int64s]:
    """Of series of the usual shape, whether what they refer to is there, and if so, their keys."""
    rows = _rows(raw, layout.before_refs, 1 + int(layout.refs_bytes.max()))
    refs = read_varints(rows, layout.refs_bytes)
    is_right, said = _metadata(layout.described, symbols)
    is_right &= refs.size & 1 == 0
    if int(refs.number.max()) >= len(symbols):
        is_right &= ~refs.have(refs.number >= len(symbols))
    if layout.start_ms.any():
        said += layout.start_ms[:, None] * _FACTORS[:, 5]
    if is_right.all():
        return is_right, symbols.keys(refs.number, refs.size, said)
    keys = np.zeros((len(rows), 2), np.int64)
    if is_right.any():
        number = refs.number[is_right.repeat(refs.size)]
        keys[is_right] = symbols.keys(number, refs.size[is_right], said[is_right])
    return is_right, keys


def _layout(raw: Bytes, lengths: Int64s, widest: int) -> _Layout:
    ends = lengths.cumsum()
    starts = ends - lengths
    head = _rows(raw, starts, 3)  # 0a <length of one or two bytes>
    low, high = _column(head, "u1", 1), _column(head, "u1", 2)
    refs_bytes, refs_start = low.astype(np.int64), starts + 2
    is_long = low >= 0x80
    if is_long.any():
        refs_bytes = np.where(is_long, refs_bytes & 0x7F | high.astype(np.int64) << 7, refs_bytes)
        refs_start += is_long
    refs_end = np.minimum(refs_start + refs_bytes, ends)
    is_usual = (_column(head, "u1", 0) == 0x0A) & (refs_bytes > 0) & (refs_bytes <= widest)
    is_usual &= (refs_start + refs_bytes < ends) & (raw.take(refs_end - 1) < 0x80)
    is_usual &= ~is_long | (high < 0x80)

    # 12 <length> 09 <value> 10 <timestamp> 18 <start>: 2, 9, 7 and 7 bytes, of which the second
    # and the last part may be missing.
    sample = _rows(raw, refs_end, _SAMPLE_BYTES)
    sample_bytes, has_value = _column(sample, "u1", 1), _column(sample, "u1", 2) == 0x09

    def word(behind_value: int) -> Int64s:
        words = _column(sample, "<i8", behind_value), _column(sample, "<i8", behind_value - 9)
        return np.where(has_value, *words)

    time = tagged_times(word(10), 0x10)
    is_usual &= (_column(sample, "u1", 0) == 0x12) & time.is_right
    more = sample_bytes - np.where(has_value, np.uint8(16), np.uint8(7))
    has_start = more == 7
    start_ms = np.zeros_like(ends)
    if has_start.any():
        start = tagged_times(word(17), 0x18)
        has_start &= start.is_right
        start_ms[has_start] = start.timestamp_ms[has_start]
    is_usual &= (more == 0) | has_start

    sample_end = refs_end + 2 + sample_bytes
    bytes_left = ends - sample_end  # below 0 where it says that it is longer than the series
    described = _rows(raw, np.minimum(sample_end, ends), _DESCRIBED_BYTES)
    is_described = (_column(described, "<u2", 0) == 0x2A | bytes_left - 2 << 8) & (bytes_left >= 2)
    is_described &= (bytes_left <= _DESCRIBED_BYTES) & (raw.take(ends - 1) < 0x80)
    is_bare = bytes_left == 0
    if is_bare.any():
        described[is_bare] = 0
    is_usual &= is_bare | is_described
    value = np.where(has_value, _column(sample, "<f8", 3), 0.0)
    return _Layout(
        is_usual, refs_start - 1, refs_bytes, described, time.timestamp_ms, value, start_ms
    )


def _rows(raw: Bytes, at: Int64s, width: int) -> Bytes:
    """So many bytes from each of these places on, shape (places, width or a bit more)."""
    width = -(-width // 8) * 8
    # One value a row: numpy copies it at once, where it takes bytes one by one of an array of two
    # dimensions.
    windows = np.ndarray((len(raw) - width + 1,), f"V{width}", raw.data, 0, (1,))
    return windows[at].view(np.uint8).reshape(len(at), width)


def _column(rows: Bytes, dtype: str, at: int) -> npt.NDArray[Any]:
    """What stands at this place of each row."""
    return np.ndarray((len(rows),), dtype, rows, at, (rows.shape[1],))


def _metadata(described: Bytes, symbols: Symbols) -> tuple[Bools, Int64s]:
    """Whether what series say of their metrics can be understood (nothing can), and what it adds to
    their keys.

    Args:
        described: tags, lengths and metadata; what is behind them does not matter.
    """
    first, repeats = _first_of_runs(described)
    length = described[first, 1].astype(np.int64)
    is_right: Bools = np.ones(len(first), bool)
    references = np.zeros((len(first), 3), np.int64)
    saying = length.nonzero()[0]
    if len(saying):
        read = read_varints(described[first[saying], 1:], length[saying])
        is_tag = read.place % 2 == 0
        tag = read.number.copy()  # a value's is the number before it; a slice begins with one
        tag[1:][~is_tag[1:]] = read.number[:-1][~is_tag[1:]]
        field = _METADATA_FIELDS[np.minimum(tag, 255)]
        bound = np.where(field == 0, _TYPES, len(symbols))
        is_wrong = (field < 0) | (~is_tag & (read.number >= bound))
        is_right[saying] = (read.size % 2 == 0) & ~read.have(is_wrong)
        owner = saying[read.owner]
        values = ~is_tag & is_right[owner]
        references[owner[values], field[values]] = read.number[values]
    said = symbols.said(references) if references.any() else np.zeros((len(first), 2), np.int64)
    return is_right.take(repeats), said.take(repeats, axis=0)


def _first_of_runs(described: Bytes) -> tuple[Int64s, Int64s]:
    """Positions of metadata that differ from the ones before them; and, for all, which of these
    they are equal to: series of one metric say the same of it."""

    length = described[:, 1]
    is_first = np.ones(len(described), bool)
    is_first[1:] = length[1:] != length[:-1]
    for masks, at in zip(_KEPT, (2, 10), strict=True):
        if at == 2 or int(length.max()) > 8:
            kept = _column(described, "<u8", at) & masks.take(length)
            is_first[1:] |= kept[1:] != kept[:-1]
    return is_first.nonzero()[0], is_first.cumsum() - 1
