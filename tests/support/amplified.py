"""Bodies of few bytes that want to become many objects: what a decoder has to count beforehand.

Each family is a function from a number of bytes, after decompression, to the message; all of it is
the same few bytes again and again, so that zstd makes some KB of 30 MB.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tests.support.series_bytes import field, varint

NOW_MS = time.time_ns() // 1_000_000
_SAMPLE_V1 = field(2, b"\x10" + varint(NOW_MS))
_NAME_V1 = field(1, field(1, b"__name__") + field(2, b"amplified"))
_SYMBOLS_V2 = field(4, b"") + field(4, b"__name__") + field(4, b"amplified") + field(4, b"x")
_SAMPLE_V2 = field(2, b"\x10" + varint(NOW_MS))

Family = Callable[[int], bytes]


def _v1_in_series(part: bytes, behind: bytes = _SAMPLE_V1) -> Family:
    return lambda size: field(1, _NAME_V1 + part * (size // len(part)) + behind)


def _v2_in_series(part: bytes, behind: bytes = _SAMPLE_V2) -> Family:
    head = field(1, b"\x01\x02")
    return lambda size: _SYMBOLS_V2 + field(5, head + part * (size // len(part)) + behind)


def _repeated(part: bytes, head: bytes = b"") -> Family:
    return lambda size: head + part * (size // len(part))


def _v1_histogram(part: bytes) -> Family:
    return lambda size: field(
        1, _NAME_V1 + field(4, b"\x08\x01" + part * (size // len(part)) + b"\x78" + varint(NOW_MS))
    )


def _shared_symbol(size: int) -> bytes:
    """Series of which each has a label of half the message."""
    names = [field(4, f"n{number}".encode()) for number in range(500)]
    series = [field(5, field(1, b"\x01\x02\x03" + varint(4 + i)) + _SAMPLE_V2) for i in range(500)]
    return (
        field(4, b"") + field(4, b"__name__") + field(4, b"amplified") + field(4, b"x" * 32)
        + b"".join(names) + b"".join(series) + field(4, b"y" * (size // 2))
        + b"".join(
            field(5, field(1, b"\x01\x02" + varint(4 + i) + varint(504)) + _SAMPLE_V2)
            for i in range(500)
        )
    )  # fmt: skip


FAMILIES_V1: Mapping[str, Family] = {
    "series": _repeated(b"\x0a\x00"),
    "metadata": _repeated(b"\x1a\x00"),
    "unknown fields": _repeated(b"\x7a\x00"),
    "unknown numbers": _repeated(b"\x78\x01"),
    "labels": _v1_in_series(b"\x0a\x00"),
    "labels with a name": _v1_in_series(b"\x0a\x05\x0a\x01a\x12\x00"),
    "samples": _v1_in_series(b"\x12\x00", b""),
    "samples of now": _v1_in_series(_SAMPLE_V1, b""),
    "exemplars": _v1_in_series(b"\x1a\x00"),
    "labels of an exemplar": lambda size: field(
        1, _NAME_V1 + field(3, b"\x0a\x00" * (size // 2)) + _SAMPLE_V1
    ),
    "histograms": _v1_in_series(b"\x22\x00", b""),
    "spans": _v1_histogram(b"\x5a\x00"),
    "deltas": lambda size: field(
        1, _NAME_V1 + field(4, b"\x08\x01" + field(12, b"\x00" * size) + b"\x78" + varint(NOW_MS))
    ),
    "deltas one by one": _v1_histogram(b"\x60\x00"),
    "unknown fields of a series": _v1_in_series(b"\x7a\x00"),
    "series with a sample": _repeated(field(1, _NAME_V1 + _SAMPLE_V1)),
    "series with nothing but a sample": _repeated(field(1, _SAMPLE_V1)),
    "series without a sample": _repeated(field(1, _NAME_V1)),
}
FAMILIES_V2: Mapping[str, Family] = {
    "series": _repeated(b"\x2a\x00"),
    "symbols": _repeated(b"\x22\x00"),
    "unknown fields": _repeated(b"\x7a\x00"),
    "references": lambda size: _SYMBOLS_V2 + field(5, field(1, b"\x03" * size) + _SAMPLE_V2),
    "references one by one": _v2_in_series(b"\x08\x03"),
    "samples": _v2_in_series(b"\x12\x00", b""),
    "exemplars": _v2_in_series(b"\x22\x00"),
    "references of an exemplar": lambda size: _SYMBOLS_V2 + field(
        5, field(1, b"\x01\x02") + field(4, field(1, b"\x03" * size)) + _SAMPLE_V2
    ),
    "histograms": _v2_in_series(b"\x1a\x00", b""),
    "deltas": lambda size: _SYMBOLS_V2 + field(
        5,
        field(1, b"\x01\x02")
        + field(3, b"\x08\x01" + field(12, b"\x00" * size) + b"\x78" + varint(NOW_MS)),
    ),
    "a long symbol in many series": _shared_symbol,
    "metadata of every series": _repeated(
        field(5, field(1, b"\x01\x02") + _SAMPLE_V2 + field(5, b"\x08\x01\x18\x03")), _SYMBOLS_V2
    ),
}  # fmt: skip
FAMILIES_PUSH: Mapping[str, Family] = {
    "empty objects": lambda size: b"[" + b",".join([b"{}"] * (size // 3)) + b"]",
    "empty objects in lines": lambda size: b"{}\n" * (size // 3),
    "numbers": lambda size: b"[" + b",".join([b"0"] * (size // 2)) + b"]",
    "brackets": lambda size: b"[" * size,
    "empty attributes": lambda size: (
        b'{"name":"x","value":1,"attributes":{"a":[' + b"0," * (size // 2) + b"0]}}"
    ),
    "attributes of empty objects": lambda size: (
        b'{"name":"x","value":1,"attributes":{"a":[' + b"{}," * (size // 3) + b"{}]}}"
    ),
    "names that are there twice": lambda size: b"{" + b'"a":0,' * (size // 6) + b'"b":1}',
    "escapes": lambda size: b'{"name":"' + b"\\u0041" * (size // 6) + b'"}',
}
