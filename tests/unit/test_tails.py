"""The last bytes of a series, read as a sample."""

import numpy as np
import pytest

from ingest.model import STALE_MARKER_BITS
from ingest.wire.remote_write.tails import MANY, read_tails
from tests.support.series_bytes import bits, labels, sample

NOW = 1_760_000_000_000
UP = labels(name="up")


@pytest.mark.parametrize(
    "value_bits", [bits(1.5), bits(-0.0), bits(float("inf")), STALE_MARKER_BITS, 1]
)
def test_a_value_and_its_time(value_bits: int) -> None:
    tails = read_tails([UP + sample(NOW, value_bits)])
    assert tails.length.tolist() == [18]
    assert tails.timestamp_ms.tolist() == [NOW]
    assert tails.value.view(np.uint64).tolist() == [value_bits]


def test_a_zero_is_left_out() -> None:
    tails = read_tails([UP + sample(NOW, 0), UP + sample(NOW, 0, keep_zeros=True)])
    assert tails.length.tolist() == [9, 18]
    assert tails.timestamp_ms.tolist() == [NOW, NOW]
    assert tails.value.view(np.uint64).tolist() == [0, 0]


@pytest.mark.parametrize("timestamp_ms", [2**35, 2**42 - 1])
def test_the_range_of_six_bytes(timestamp_ms: int) -> None:
    assert read_tails([UP + sample(timestamp_ms, 1)]).timestamp_ms.tolist() == [timestamp_ms]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x12\x00",
        UP,
        UP + sample(2**35 - 1, 1),
        UP + sample(2**42, 1),
        UP + sample(-NOW, 1),
        UP + sample(0, 1),
        UP + sample(NOW, 1)[:2] + sample(NOW, 1)[11:] + sample(NOW, 1)[2:11],
    ],
    ids=["nothing", "empty sample", "labels", "early", "late", "negative", "no time", "time first"],
)
def test_other_shapes_have_no_tail(raw: bytes) -> None:
    tails = read_tails([raw, UP + sample(NOW, bits(2.0))])
    assert tails.length.tolist() == [0, 18]
    assert tails.value[1] == 2.0


def field(raw: bytes, *, longer_head: bool = False) -> bytes:
    """A series as a field of a message; its length, a varint, may be a byte longer than it must."""
    length, rest = bytearray(), len(raw)
    while rest > 0x7F or (longer_head and not length):
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return b"\x0a" + bytes(length) + bytes([rest]) + raw


LENGTHS = [1, 127 - 31, 128 - 31, 16_383 - 31, 16_384 - 31, 300]
"""Of texts; the last bytes of a length of one byte more stand beside those of one less."""
SERIES = [
    labels(name="x" * LENGTHS[number % len(LENGTHS)]) + sample(NOW + number, bits(number % 3))
    for number in range(MANY)
]
METADATA = b"\x1a\x02\x08\x01"


@pytest.mark.parametrize(
    "payload",
    [
        b"".join(map(field, SERIES)),
        METADATA + b"".join(map(field, SERIES)),
        b"".join([field(raw, longer_head=len(raw) < 128) for raw in SERIES]),
    ],
    ids=["series only", "metadata, too", "longer heads"],
)
def test_many_are_found_in_their_payload(payload: bytes) -> None:
    found, copied = read_tails(SERIES, payload), read_tails(SERIES)
    assert found.timestamp_ms.tolist() == list(range(NOW, NOW + MANY))
    assert found.value.tolist() == [number % 3 for number in range(MANY)]
    assert found.length.tolist() == copied.length.tolist()


def test_of_many_some_are_too_short() -> None:
    series = [b"\x12\x00", *SERIES[1:]]
    tails = read_tails(series, b"".join(map(field, series)))
    assert tails.length[:2].tolist() == [0, 18]
