"""Chunks of samples as Prometheus' storage has them and remote read streams them: times as deltas
of deltas, values as what changed in their bits (Gorilla, VLDB 2015).

A chunk is a row of pieces, each a number and how many bits of it are written, the highest first.
What is written depends on the pieces before only by the window of bits of the last value that did
not fit the window before it: numpy makes the pieces of many chunks at once, sample after sample,
and packs them. Formats: tsdb/chunkenc of Prometheus (xor.go, float_histogram.go, varbit.go).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

XOR, FLOAT_HISTOGRAM = 1, 3
"""Types of chunks, as a Chunk of remote read says them."""
CHUNK_SAMPLES = 120
"""Of a full chunk, as Prometheus cuts them."""
CELLS_AT_ONCE = 250_000
"""Samples whose pieces are in memory, some 150 bytes each."""
CUSTOM_SCHEMA = -53
RESET_HEADER = (0, 0b1000_0000, 0b0100_0000, 0b1100_0000)
"""Of a histogram chunk, by its first hint: unknown, reset, not reset, gauge."""
_TIME_WIDTHS = ((14, 0b10, 2), (17, 0b110, 3), (20, 0b1110, 4))
"""How a delta of deltas is written: bits of it, and what tells how many they are."""
_VARBIT_WIDTHS = (3, 6, 9, 12, 18, 25, 56)
_ALL_BITS = np.uint64(2**64 - 1)


class Pieces(NamedTuple):
    """Numbers, and how many bits of each are written; of the same shape."""

    values: Words
    widths: Ints


def float_chunks(times: Ints, values: Floats, starts: Ints, counts: Ints) -> list[bytes]:
    """Chunks of floats.

    Args:
        times, values: [N], in milliseconds; ascending within a chunk.
        starts, counts: [C], where each of C chunks begins, and its samples, from 1 to 65,535.
    """
    chunks: list[bytes] = [b""] * len(counts)
    order = np.argsort(counts, kind="stable")  # chunks of one batch are nearly of one length
    at = 0
    while at < len(order):
        most = int(counts[order[min(at + 999, len(order) - 1)]])
        batch = order[at : at + max(1, min(1000, CELLS_AT_ONCE // most))]
        at += len(batch)
        longest = int(counts[batch].max())
        last = starts[batch] + counts[batch] - 1
        # [c, longest]: after its last sample a chunk repeats it, and writes nothing.
        cells = np.minimum(starts[batch, None] + np.arange(longest), last[:, None])
        bits = np.ascontiguousarray(values).view(np.uint64)[cells]
        pieces = _float_pieces(times[cells], bits, counts[batch])
        for chunk, raw in zip(batch.tolist(), _packed(pieces), strict=True):
            chunks[chunk] = raw
    return chunks


def _float_pieces(times: Ints, bits: Words, counts: Ints) -> Pieces:
    """[c, n], samples of c chunks, as pieces [c, p]."""
    n = times.shape[1]
    deltas = np.diff(times, axis=1)
    changes = np.diff(deltas, axis=1)
    parts = [
        Pieces(counts.astype(np.uint64)[:, None], np.full((len(times), 1), 16)),
        _varint((times[:, 0] << 1) ^ (times[:, 0] >> 63)),
        Pieces(bits[:, :1], np.full((len(times), 1), 64)),
    ]
    if n > 1:
        xor = _xor(bits.T)  # [n - 1, c, 2]
        second = _varint(deltas[:, 0])
        alive = np.arange(1, n)[:, None] < counts
        rest = np.zeros((len(times), n - 1, 4), np.uint64)
        widths = np.zeros((len(times), n - 1, 4), np.int64)
        rest[:, 1:, :2], widths[:, 1:, :2] = _time_change(changes)
        rest[:, :, 2:], widths[:, :, 2:] = (
            np.moveaxis(xor.values, 1, 0),
            np.moveaxis(xor.widths, 1, 0),
        )
        widths *= alive.T[:, :, None]
        parts += [
            Pieces(second.values, second.widths * (counts > 1)[:, None]),
            Pieces(rest.reshape(len(times), -1), widths.reshape(len(times), -1)),
        ]
    return Pieces(
        np.concatenate([part.values for part in parts], axis=1),
        np.concatenate([part.widths for part in parts], axis=1),
    )


class Layout(NamedTuple):
    """What the histograms of a chunk have in common.

    Attributes:
        hint: of the first one about a counter reset (`RESET_HEADER`); the others have none.
        positive, negative: indexes of their buckets, ascending.
        bounds: of custom buckets.
    """

    hint: int
    schema: int
    zero_threshold: float
    positive: Sequence[int]
    negative: Sequence[int]
    bounds: Sequence[float]


def histogram_chunk(times: Ints, fields: Floats, layout: Layout) -> bytes:
    """A chunk of histograms of floats.

    Args:
        times: [n], in milliseconds, ascending; n is from 1 to 65,535.
        fields: [n, 3 + buckets]: count, zero count, sum, positive buckets, negative buckets.
    """
    bits = np.ascontiguousarray(fields).view(np.uint64)
    head = [(len(times), 16), (RESET_HEADER[layout.hint], 8), *_layout(layout)]
    first = _varbit(times[:1])
    parts = [
        Pieces(
            np.array([value for value, _ in head], np.uint64), np.array([bits for _, bits in head])
        ),
        Pieces(first.values.ravel(), first.widths.ravel()),
        Pieces(bits[0], np.full(bits.shape[1], 64)),
    ]
    if len(times) > 1:
        changes = _varbit(np.diff(np.diff(times), prepend=0))
        xor = _xor(bits)  # [n - 1, fields, 2]
        parts.append(
            Pieces(
                np.hstack([changes.values, xor.values.reshape(len(times) - 1, -1)]).ravel(),
                np.hstack([changes.widths, xor.widths.reshape(len(times) - 1, -1)]).ravel(),
            )
        )
    joined = Pieces(
        np.concatenate([part.values for part in parts])[None],
        np.concatenate([part.widths for part in parts])[None],
    )
    return _packed(joined)[0]


def spans(indexes: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbours: how far each begins from the end of the one before, and its length."""
    found: list[tuple[int, int]] = []
    expected = 0
    for index in indexes:
        if found and index == expected:
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((index - expected, 1))
        expected = index + 1
    return found


def _layout(layout: Layout) -> list[tuple[int, int]]:
    fraction, exponent = math.frexp(layout.zero_threshold)
    if layout.zero_threshold == 0:
        found = [(0, 8)]
    elif fraction == 0.5 and -242 <= exponent <= 11:
        found = [(exponent + 243, 8)]
    else:
        found = [(255, 8), (_bits_of(layout.zero_threshold), 64)]
    found += _one_varbit(layout.schema)
    for indexes in (layout.positive, layout.negative):
        runs = spans(indexes)
        found += _one_varbit(len(runs), signed=False)
        for offset, length in runs:
            found += [*_one_varbit(length, signed=False), *_one_varbit(offset)]
    if layout.schema == CUSTOM_SCHEMA:
        found += _one_varbit(len(layout.bounds), signed=False)
        for bound in layout.bounds:  # whole thousandths up to 33,554 are short
            thousandths = round(bound * 1000) if 0 <= bound * 1000 <= 33_554_430 else -1
            if thousandths / 1000 == bound:
                found += _one_varbit(thousandths + 1, signed=False)
            else:
                found += [(0, 1), (_bits_of(bound), 64)]
    return found


def _bits_of(value: float) -> int:
    return int(np.float64(value).view(np.uint64))


def _one_varbit(number: int, signed: bool = True) -> list[tuple[int, int]]:
    pieces = _varbit(np.array([number]), signed)
    return list(zip(pieces.values[0].tolist(), pieces.widths[0].tolist(), strict=True))


def _varbit(numbers: Ints, signed: bool = True) -> Pieces:
    """[n] as [n, 2]: how many bits there are, and these. Zero is one bit."""
    prefix = np.full(len(numbers), 0b1111_1111)
    lengths, widths = np.full(len(numbers), 8), np.full(len(numbers), 64)
    for ones in range(len(_VARBIT_WIDTHS), 0, -1):
        width = _VARBIT_WIDTHS[ones - 1]
        fits = _fits(numbers, width) if signed else numbers < 1 << width
        prefix[fits], lengths[fits], widths[fits] = (1 << ones + 1) - 2, ones + 1, width
    zero = numbers == 0
    prefix[zero], lengths[zero], widths[zero] = 0, 1, 0
    return Pieces(
        np.stack([prefix, numbers], axis=-1).view(np.uint64), np.stack([lengths, widths], axis=-1)
    )


def _fits(numbers: Ints, width: int) -> npt.NDArray[np.bool_]:
    """Whether a reader finds the sign again: the largest power of two is a positive number."""
    return (numbers >= 1 - (1 << width - 1)) & (numbers <= 1 << width - 1)


def _time_change(changes: Ints) -> Pieces:
    """[…] deltas of deltas as […, 2]: most of them whole, the largest after what says so."""
    code, width = np.full(changes.shape, 0b1111), np.full(changes.shape, 4)
    large = np.full(changes.shape, 64)
    for bits, prefix, prefix_width in reversed(_TIME_WIDTHS):
        fits = _fits(changes, bits)
        code[fits] = (prefix << bits | changes & (1 << bits) - 1)[fits]
        width[fits], large[fits] = prefix_width + bits, 0
    zero = changes == 0
    code[zero], width[zero] = 0, 1
    return Pieces(
        np.stack([code, changes], axis=-1).view(np.uint64), np.stack([width, large], axis=-1)
    )


def _varint(numbers: Ints) -> Pieces:
    """[n] as bytes of seven bits [n, 10], the lowest first."""
    rest = numbers.view(np.uint64)[:, None] >> np.arange(0, 70, 7).astype(np.uint64)
    more = np.zeros(rest.shape, bool)
    more[:, :-1] = rest[:, 1:] > 0
    values = rest & np.uint64(0x7F) | more.astype(np.uint64) << np.uint64(7)
    widths = np.where((rest > 0) | (np.arange(10) == 0), 8, 0)
    return Pieces(values, widths)


def _xor(bits: Words) -> Pieces:
    """How each of n values of L lanes differs from the one before.

    Args:
        bits: [n, L].

    Returns:
        [n - 1, L, 2]: which of the bits changed (nothing, the known window, a new one), and these.
    """
    delta = bits[1:] ^ bits[:-1]
    changed = delta != 0
    leading = np.minimum(_leading_zeros(delta), 31)
    trailing = _trailing_zeros(delta)
    is_new = np.zeros(delta.shape, bool)
    window = np.zeros((2, *delta.shape), np.int64)
    before, after = np.full(bits.shape[1], 64), np.zeros(bits.shape[1], np.int64)  # fits nothing
    for row in range(len(delta)):
        is_new[row] = changed[row] & ((leading[row] < before) | (trailing[row] < after))
        before = np.where(is_new[row], leading[row], before)
        after = np.where(is_new[row], trailing[row], after)
        window[0, row], window[1, row] = before, after
    widths = np.where(changed, 64 - window[0] - window[1], 0)
    control = np.where(is_new, 0b11 << 11 | window[0] << 6 | widths & 63, np.where(changed, 2, 0))
    control_widths = np.where(is_new, 13, np.where(changed, 2, 1))
    kept = delta >> window[1].astype(np.uint64)
    return Pieces(
        np.stack([control.view(np.uint64), kept], axis=-1),
        np.stack([control_widths, widths], axis=-1),
    )


def _leading_zeros(words: Words) -> Ints:
    high, low = words >> np.uint64(32), words & np.uint64(0xFFFF_FFFF)
    lengths = np.where(
        high > 0, 32 + np.frexp(high.astype(float))[1], np.frexp(low.astype(float))[1]
    )
    zeros: Ints = 64 - lengths.astype(np.int64)
    return zeros


def _trailing_zeros(words: Words) -> Ints:
    lowest = words & (~words + np.uint64(1))  # a power of two: exact as a float
    zeros: Ints = np.maximum(np.frexp(lowest.astype(float))[1].astype(np.int64) - 1, 0)
    return zeros


def _packed(pieces: Pieces) -> list[bytes]:
    """Bits of [c, p] pieces, each row by itself, filled up to whole bytes."""
    row_bits = pieces.widths.sum(axis=1)
    row_words = (row_bits + 63) // 64
    row_starts = np.cumsum(row_words) - row_words
    ends = np.cumsum(pieces.widths, axis=1)
    offsets = (ends - pieces.widths + 64 * row_starts[:, None]).ravel()
    some = np.flatnonzero(pieces.widths.ravel())
    widths, offsets = pieces.widths.ravel()[some], offsets[some]
    values = pieces.values.ravel()[some] & (_ALL_BITS >> (64 - widths).astype(np.uint64))
    at = offsets >> 6
    over = widths - (64 - (offsets & 63))  # bits that fall into the next word
    words = np.zeros(int(row_words.sum()), np.uint64)
    here = np.where(
        over > 0,
        values >> np.maximum(over, 0).astype(np.uint64),
        values << np.maximum(-over, 0).astype(np.uint64),
    )
    np.add.at(words, at, here)  # no bit is there twice: a sum is what "or" would be
    split = over > 0
    np.add.at(words, at[split] + 1, values[split] << (64 - over[split]).astype(np.uint64))
    raw = words.astype(">u8").tobytes()
    return [
        raw[start * 8 : start * 8 + (bits + 7) // 8]
        for start, bits in zip(row_starts.tolist(), row_bits.tolist(), strict=True)
    ]
