"""A reader of Prometheus' chunks, bit by bit, and of the frames that bring them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

CUSTOM = -53
_TABLE = [0] * 256
for _byte in range(256):
    _rest = _byte
    for _ in range(8):
        _rest = _rest >> 1 ^ (0x82F6_3B78 if _rest & 1 else 0)
    _TABLE[_byte] = _rest


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, a byte after the other."""
    rest = 0xFFFF_FFFF
    for byte in data:
        rest = rest >> 8 ^ _TABLE[(rest ^ byte) & 0xFF]
    return rest ^ 0xFFFF_FFFF


class Bits:
    """Bits of a chunk, the highest of each byte first."""

    def __init__(self, raw: bytes) -> None:
        self._number, self._left = int.from_bytes(raw, "big"), 8 * len(raw)

    def take(self, count: int) -> int:
        assert count <= self._left, "the chunk ends in the middle of a sample"
        self._left -= count
        return self._number >> self._left & (1 << count) - 1

    def ones(self, most: int) -> int:
        """How many ones stand before the next zero, up to `most`."""
        found = 0
        while found < most and self.take(1):
            found += 1
        return found

    def uvarint(self) -> int:
        found = shift = 0
        while True:
            byte = self.take(8)
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return found

    def signed(self, count: int) -> int:
        found = self.take(count)
        return found - (1 << count) if found > 1 << count - 1 else found

    def varbit(self, signed: bool = True) -> int:
        width = (0, 3, 6, 9, 12, 18, 25, 56, 64)[self.ones(8)]
        if not width:
            return 0
        return self.signed(width) if signed else self.take(width)

    def float64(self) -> float:
        return _float(self.take(64))

    def rest(self) -> int:
        """The bits that fill up the last byte, as a number."""
        return self.take(self._left)


def _float(bits: int) -> float:
    found: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return found


@dataclass
class Xor:
    """A value that is written as what changed of the one before."""

    bits: int
    leading: int = 0
    trailing: int = 0

    def next(self, raw: Bits) -> int:
        if raw.take(1):
            if raw.take(1):
                self.leading = raw.take(5)
                width = raw.take(6) or 64
                self.trailing = 64 - self.leading - width
            self.bits ^= raw.take(64 - self.leading - self.trailing) << self.trailing
        return self.bits


def floats(chunk: bytes) -> list[tuple[int, int]]:
    """Times and bits of values of a chunk of floats."""
    raw = Bits(chunk)
    count = raw.take(16)
    zigzag = raw.uvarint()
    at, value = zigzag >> 1 ^ -(zigzag & 1), Xor(raw.take(64))
    found = [(at, value.bits)]
    delta = 0
    for number in range(1, count):
        if number == 1:
            delta = raw.uvarint()
        else:
            width = (0, 14, 17, 20, 64)[raw.ones(4)]
            delta += raw.signed(width) if width else 0
        at += delta
        found.append((at, value.next(raw)))
    assert raw.rest() == 0
    return found


@dataclass
class Histogram:
    """One of a chunk: fields are count, zero count, sum and buckets."""

    time_ms: int
    fields: list[int]


@dataclass
class HistogramChunk:
    header: int
    schema: int
    zero_threshold: float
    positive: list[int]
    negative: list[int]
    bounds: list[float] = field(default_factory=list)
    samples: list[Histogram] = field(default_factory=list)


def histograms(chunk: bytes) -> HistogramChunk:
    """What a chunk of histograms of floats holds."""
    raw = Bits(chunk)
    count, header = raw.take(16), raw.take(8)
    short = raw.take(8)
    zero = 0.0 if not short else raw.float64() if short == 255 else math.ldexp(0.5, short - 243)
    schema = raw.varbit()
    sides = list(_indexes(raw)), list(_indexes(raw))
    found = HistogramChunk(header, schema, zero, sides[0], sides[1])
    if schema == CUSTOM:
        for _ in range(raw.varbit(signed=False)):
            short = raw.varbit(signed=False)
            found.bounds.append((short - 1) / 1000 if short else raw.float64())
    at = raw.varbit()
    values = [Xor(raw.take(64)) for _ in range(3 + len(sides[0]) + len(sides[1]))]
    found.samples.append(Histogram(at, [value.bits for value in values]))
    delta = 0
    for _ in range(1, count):
        delta += raw.varbit()
        at += delta
        found.samples.append(Histogram(at, [value.next(raw) for value in values]))
    assert raw.rest() == 0
    return found


def _indexes(raw: Bits) -> Iterator[int]:
    at = 0
    for _ in range(raw.varbit(signed=False)):
        length = raw.varbit(signed=False)
        at += raw.varbit()
        yield from range(at, at + length)
        at += length


def frames(stream: bytes) -> Iterator[bytes]:
    """The messages of a streamed answer, their checksums checked."""
    at = 0
    while at < len(stream):
        length, at = _varint(stream, at)
        checksum, data = stream[at : at + 4], stream[at + 4 : at + 4 + length]
        assert int.from_bytes(checksum, "big") == crc32c(data)
        at += 4 + length
        yield data


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    found = shift = 0
    while True:
        byte = raw[at]
        found |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return found, at


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and contents of the fields of a protobuf message that has varints and bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key & 7 == 2:
            yield key >> 3, message[at : at + value]
            at += value
        else:
            assert key & 7 == 0
            yield key >> 3, value


class Chunk(NamedTuple):
    from_ms: int
    to_ms: int
    kind: int
    data: bytes


Streamed = dict[tuple[int, tuple[tuple[str, str], ...]], list[Chunk]]


def streamed(stream: bytes) -> Streamed:
    """Chunks by the number of the query and the labels of the series, in the order they came in."""
    found: Streamed = {}
    for frame in frames(stream):
        content = list(fields(frame))
        query = next((value for number, value in content if number == 2), 0)
        for series in (value for number, value in content if number == 1):
            assert isinstance(series, bytes)
            labels, chunks = [], []
            for number, value in fields(series):
                assert isinstance(value, bytes)
                if number == 1:
                    name, text = (one.decode() for _, one in fields(value))  # type: ignore[union-attr]
                    labels.append((name, text))
                else:
                    parts = dict(fields(value))
                    chunks.append(Chunk(*(parts.get(place, 0) for place in (1, 2, 3, 4))))  # type: ignore[arg-type]
            assert isinstance(query, int)
            found.setdefault((query, tuple(labels)), []).extend(chunks)
    return found
