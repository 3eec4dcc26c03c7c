"""Rows to PostgreSQL's binary COPY format.

The format: a header, then for each row an int16 count of fields and for each field an int32 length
(-1 for NULL) with its bytes, then an int16 -1 (PostgreSQL manual, "COPY", "Binary Format").
Rows without an exact value are one numpy block; at rows that have one, its last field is replaced.
"""

from __future__ import annotations

import struct

import numpy as np

from ingest.model import STALE_MARKER_BITS, Rows

HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)

ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("time_length", ">i4"),
        ("time", ">i8"),
        ("series_id_length", ">i4"),
        ("series_id", ">i8"),
        ("value_length", ">i4"),
        ("value_bits", ">i8"),
        ("exact_length", ">i4"),
    ]
)
NULL_BYTES = 4

POSTGRES_EPOCH_MS = 946_684_800_000
POSTGRES_EPOCH_US = POSTGRES_EPOCH_MS * 1000
"""2000-01-01 UTC, from which PostgreSQL counts its microseconds."""

NUMERIC_POSITIVE, NUMERIC_NEGATIVE, NUMERIC_NAN = 0x0000, 0x4000, 0xC000
NAN_FIELD = struct.pack(">ihhHh", 8, 0, 0, NUMERIC_NAN, 0)


def encode_rows(rows: Rows) -> bytes:
    """A complete binary COPY stream of columns time, series_id, value, exact.

    Values keep their bits, NaN payloads included. A stale marker's row carries `exact = 'NaN'`,
    because a dump turns its bits into those of an ordinary NaN.
    """
    block = memoryview(_block(rows).tobytes())
    pieces: list[bytes | memoryview] = [HEADER]
    start = 0
    for position, field in _exact_fields(rows):
        end = (position + 1) * ROW.itemsize
        pieces += (block[start : end - NULL_BYTES], field)
        start = end
    pieces += (block[start:], TRAILER)
    return b"".join(pieces)


def _block(rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    block = np.empty(len(rows), ROW)
    block["fields"] = 4
    block["time_length"] = block["series_id_length"] = block["value_length"] = 8
    block["time"] = (rows.timestamp_ms - POSTGRES_EPOCH_MS) * 1000
    block["series_id"] = rows.series_id
    block["value_bits"] = rows.value.view(np.int64)
    block["exact_length"] = -1
    return block


def _exact_fields(rows: Rows) -> list[tuple[int, bytes]]:
    stale = np.flatnonzero(rows.value.view(np.int64) == STALE_MARKER_BITS)
    fields = dict.fromkeys(stale.tolist(), NAN_FIELD)
    fields.update((position, numeric_field(text)) for position, text in rows.exact.items())
    return sorted(fields.items())


def numeric_field(text: str) -> bytes:
    """A NUMERIC field, length included, from decimal text such as `-12.050` (scale kept).

    Digits are in base 10,000, the first one times 10,000 to the power `weight`
    (`numeric_recv` in PostgreSQL's utils/adt/numeric.c).
    """
    sign = NUMERIC_NEGATIVE if text.startswith("-") else NUMERIC_POSITIVE
    whole, _, fraction = text.lstrip("+-").partition(".")
    scale = len(fraction)
    whole = whole.zfill(-(-len(whole) // 4) * 4)
    fraction = fraction.ljust(-(-scale // 4) * 4, "0")
    digits = [int(part) for part in _fours(whole + fraction)]
    weight = len(whole) // 4 - 1
    while digits and digits[0] == 0:
        digits.pop(0)
        weight -= 1
    while digits and digits[-1] == 0:
        digits.pop()
    if not digits:
        sign, weight = NUMERIC_POSITIVE, 0
    header = struct.pack(">hhHh", len(digits), weight, sign, scale)
    body = header + struct.pack(f">{len(digits)}h", *digits)
    return struct.pack(">i", len(body)) + body


def _fours(text: str) -> list[str]:
    return [text[start : start + 4] for start in range(0, len(text), 4)]
