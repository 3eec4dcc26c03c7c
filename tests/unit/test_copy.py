"""The binary COPY encoding, field by field."""

import struct
from decimal import Decimal

import numpy as np
import pytest

from ingest.copy_format import HEADER, NAN_FIELD, TRAILER, joined, numeric
from ingest.copy_samples import ROW, encode_samples
from ingest.model import STALE_MARKER_BITS, Rows
from tests.support.rows import rows_of


def decimal_of(field: bytes) -> Decimal:
    """The value of a NUMERIC field, by PostgreSQL's definition of its digits."""
    length, count, weight, sign, scale = struct.unpack(">ihhHh", field[:12])
    assert length == len(field) - 4
    digits = struct.unpack(f">{count}h", field[12:])
    assert all(0 <= digit < 10_000 for digit in digits)
    assert not digits or (digits[0] and digits[-1])
    total = Decimal(0)
    for index, digit in enumerate(digits):
        total += Decimal(digit).scaleb(4 * (weight - index), None)
    assert sign in (0x0000, 0x4000)
    return (-total if sign else total).quantize(Decimal(1).scaleb(-scale))


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0.000",
        "7",
        "9999",
        "10000",
        "10001",
        "0.0001",
        "0.00001",
        "12.050",
        "-3.5",
        "+4",
        "987654321098765432101",
        "0.613",
    ],
)
def test_numeric_field_keeps_value_and_scale(text: str) -> None:
    value = decimal_of(numeric(text))
    assert value == Decimal(text)
    assert value.as_tuple().exponent == Decimal(text).as_tuple().exponent


def test_negative_zero_has_no_sign() -> None:
    assert numeric("-0.0") == numeric("0.0")


def test_rows_are_one_block_between_header_and_trailer() -> None:
    encoded = encode_samples(rows_of((7, 946_684_800_001, 1.5), (8, 946_684_800_002, 0.0)))
    assert encoded.startswith(HEADER)
    assert encoded.endswith(TRAILER)
    assert len(encoded) == len(HEADER) + 2 * ROW.itemsize + len(TRAILER)
    first = encoded[len(HEADER) : len(HEADER) + ROW.itemsize]
    assert struct.unpack(">hiqiqidi", first) == (4, 8, 1000, 8, 7, 8, 1.5, -1)


def test_streams_are_joined_to_one() -> None:
    """The rows of several tenants, each encoded by itself."""
    one, other = rows_of((1, 1000, 1.5), (2, 1000, 2.5)), rows_of((3, 2000, 3.5))
    together = rows_of((1, 1000, 1.5), (2, 1000, 2.5), (3, 2000, 3.5))
    assert joined([encode_samples(one), encode_samples(other)]) == encode_samples(together)
    assert joined([encode_samples(one)]) == encode_samples(one)


def test_exact_values_stand_in_their_rows() -> None:
    encoded = encode_samples(rows_of((1, 0, 1.0), (2, 0, 2.0), (3, 0, 3.0), exact={1: "2"}))
    second = len(HEADER) + ROW.itemsize
    field = numeric("2")
    assert encoded[second + ROW.itemsize - 4 :].startswith(field)
    third = second + ROW.itemsize - 4 + len(field)
    assert struct.unpack(">hiq", encoded[third : third + 14])[0] == 4


def test_a_stale_marker_keeps_its_bits_and_says_nan() -> None:
    stale = np.array([STALE_MARKER_BITS], np.int64).view(np.float64)
    rows = Rows(np.array([1], np.int64), np.array([0], np.int64), stale)
    encoded = encode_samples(rows)
    assert struct.pack(">q", STALE_MARKER_BITS) in encoded
    assert encoded.endswith(NAN_FIELD + TRAILER)
