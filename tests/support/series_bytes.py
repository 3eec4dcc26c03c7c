"""Remote write 1.0 messages written field by field, so that tests can write odd ones too."""

from __future__ import annotations

import struct
from collections.abc import Iterable

VARINT, FIXED64, BYTES = 0, 1, 2


def varint(number: int) -> bytes:
    """A number as protobuf's varint; negative ones as 64-bit two's complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | BYTES) + varint(len(content)) + content


def label(name: str | bytes, value: str | bytes) -> bytes:
    """One label, as a field of a TimeSeries."""
    name = name.encode() if isinstance(name, str) else name
    value = value.encode() if isinstance(value, str) else value
    return field(1, field(1, name) + field(2, value))


def labels(**pairs: str) -> bytes:
    """Labels in the order given; `name` stands for `__name__`."""
    return b"".join(
        label("__name__" if name == "name" else name, value) for name, value in pairs.items()
    )


def bits(value: float) -> int:
    """The 64 bits of a double."""
    number: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    return number


def sample(timestamp_ms: int, value_bits: int, *, keep_zeros: bool = False) -> bytes:
    """One sample, as a field of a TimeSeries; zeros are left out as proto3 says."""
    content = b""
    if value_bits or keep_zeros:
        content += b"\x09" + struct.pack("<Q", value_bits)
    if timestamp_ms or keep_zeros:
        content += b"\x10" + varint(timestamp_ms)
    return field(2, content)


def write_request(series: Iterable[bytes], metadata: Iterable[bytes] = ()) -> bytes:
    """A WriteRequest."""
    return b"".join([field(1, one) for one in series] + [field(3, one) for one in metadata])
