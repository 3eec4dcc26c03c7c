"""PostgreSQL's binary COPY format.

A stream is a header, then for each row an int16 count of fields and for each field an int32 length
(-1 for NULL) with its bytes, then an int16 -1 (PostgreSQL manual, "COPY", "Binary Format").

Items are encoded column by column, so that Python runs once a column, and C for each row. Samples
have a way of their own, `copy_samples.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import chain, repeat
from typing import Any, NamedTuple

HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)
NULL = struct.pack(">i", -1)

POSTGRES_EPOCH_MS = 946_684_800_000
POSTGRES_EPOCH_US = POSTGRES_EPOCH_MS * 1000
"""2000-01-01 UTC, from which PostgreSQL counts its microseconds."""

NUMERIC_POSITIVE, NUMERIC_NEGATIVE, NUMERIC_NAN = 0x0000, 0x4000, 0xC000
NAN_FIELD = struct.pack(">ihhHh", 8, 0, 0, NUMERIC_NAN, 0)
JSONB_VERSION = 1

_INT4_OID, _FLOAT8_OID, _NUMERIC_OID = 23, 701, 1700
_length = struct.Struct(">i").pack
_jsonb_head = struct.Struct(">ib").pack
_array_head = struct.Struct(">iiiii").pack


class Codec(NamedTuple):
    """How the values of one column become its fields.

    Attributes:
        format: of `struct`, where all fields are of one length; else "".
        convert: then the values as `struct` takes them; otherwise the fields, lengths included.
    """

    format: str
    convert: Callable[[Sequence[Any]], Iterable[Any]]


def _as_they_are(values: Sequence[Any]) -> Sequence[Any]:
    return values


def _since_2000_us(epoch: int, unit_us: int, values: Sequence[int]) -> list[int]:
    return [(value - epoch) * unit_us for value in values]


def by_field(field: Callable[[Any], bytes]) -> Codec:
    """The codec of a function that makes a field, its length included, of a value."""
    return Codec("", partial(map, field))


def nullable(field: Callable[[Any], bytes]) -> Codec:
    """The same, for a column in which None is NULL."""
    return by_field(lambda value: NULL if value is None else field(value))


def timestamp_ms(since_1970_ms: int) -> bytes:
    """A timestamptz from milliseconds."""
    return struct.pack(">iq", 8, (since_1970_ms - POSTGRES_EPOCH_MS) * 1000)


def text(value: str) -> bytes:
    """Text."""
    content = value.encode()
    return _length(len(content)) + content


def jsonb(document: bytes) -> bytes:
    """A jsonb from its text, UTF-8."""
    return _jsonb_head(len(document) + 1, JSONB_VERSION) + document


def numeric(value: str) -> bytes:
    """A numeric from decimal text such as `-12.050` (its scale is kept).

    Digits are in base 10,000, the first one times 10,000 to the power `weight`
    (`numeric_recv` in PostgreSQL's utils/adt/numeric.c).
    """
    sign = NUMERIC_NEGATIVE if value.startswith("-") else NUMERIC_POSITIVE
    whole, _, fraction = value.lstrip("+-").partition(".")
    scale = len(fraction)
    whole = whole.zfill(-(-len(whole) // 4) * 4)
    fraction = fraction.ljust(-(-scale // 4) * 4, "0")
    decimals = whole + fraction
    digits = [int(decimals[start : start + 4]) for start in range(0, len(decimals), 4)]
    weight = len(whole) // 4 - 1
    while digits and digits[0] == 0:
        digits.pop(0)
        weight -= 1
    while digits and digits[-1] == 0:
        digits.pop()
    if not digits:
        sign, weight = NUMERIC_POSITIVE, 0
    header = struct.pack(">hhHh", len(digits), weight, sign, scale)
    return _sized(header + struct.pack(f">{len(digits)}h", *digits))


def int4_array(numbers: Sequence[int]) -> bytes:
    """An int4[]."""
    return _array(numbers, "i", 4, _INT4_OID)


def float8_array(numbers: Sequence[float]) -> bytes:
    """A float8[]."""
    return _array(numbers, "d", 8, _FLOAT8_OID)


def numeric_array(numbers: Sequence[str]) -> bytes:
    """A numeric[], from decimal texts; at least one."""
    elements = b"".join([numeric(number) for number in numbers])
    return _sized(_array_head(1, 0, _NUMERIC_OID, len(numbers), 1) + elements)


SMALLINT = Codec("h", _as_they_are)
INTEGER = Codec("i", _as_they_are)
BIGINT = Codec("q", _as_they_are)
FLOAT8 = Codec("d", _as_they_are)
BOOLEAN = Codec("?", _as_they_are)
UUID = Codec("16s", _as_they_are)
"""Of 16 bytes."""
TIMESTAMP_MS = Codec("q", partial(_since_2000_us, POSTGRES_EPOCH_MS, 1000))
TIMESTAMP_US = Codec("q", partial(_since_2000_us, POSTGRES_EPOCH_US, 1))
"""From milliseconds, or microseconds, since 1970."""
TEXT = by_field(text)
REPEATED_TEXT = by_field(lru_cache(maxsize=1000)(text))
"""Of texts of which few are different."""
JSONB = by_field(jsonb)
INT4_ARRAY = by_field(int4_array)
FLOAT8_ARRAY = by_field(float8_array)

_packer = lru_cache(struct.Struct)


def encode_columns(columns: Sequence[tuple[Codec, Sequence[Any]]]) -> bytes:
    """A complete stream of rows from their columns, which are of one length."""
    return b"".join([HEADER, encode_rows(columns), TRAILER])


def encode_rows(columns: Sequence[tuple[Codec, Sequence[Any]]]) -> bytes:
    """The same without what stands around the rows of a stream."""
    # A row is pieces one after the other: each column of any length is one, and columns of fixed
    # length that follow each other are one together, with the lengths before them, which one call
    # of `struct` packs. Pieces are columns, too, until `zip` makes rows of them.
    pieces: list[Iterable[bytes]] = []
    arguments: list[Iterable[Any]] = [repeat(len(columns))]
    format = ">h"
    for codec, values in columns:
        if codec.format:
            format += "i" + codec.format
            arguments += [repeat(struct.calcsize(">" + codec.format)), codec.convert(values)]
            continue
        if arguments:
            pieces.append(map(_packer(format).pack, *arguments))
        pieces.append(codec.convert(values))
        format, arguments = ">", []
    if arguments:
        pieces.append(map(_packer(format).pack, *arguments))
    return b"".join(chain.from_iterable(zip(*pieces, strict=True)))


SAMPLE_COLUMNS = ("time", "series_id", "value", "exact")
"""Columns of a sample; all but the last one are 8 bytes."""


def joined(streams: Sequence[bytes]) -> bytes:
    """One stream with the rows of all of them."""
    rows = [stream[len(HEADER) : -len(TRAILER)] for stream in streams]
    return b"".join([HEADER, *rows, TRAILER])


def _array(numbers: Sequence[float], kind: str, width: int, oid: int) -> bytes:
    """As `array_recv` has it: dimensions, flags, the element type's OID, length and lower bound of
    the dimension, then each element, `kind` in `struct`, with its length before it."""
    if not numbers:
        return _sized(struct.pack(">iii", 0, 0, oid))
    fields: list[float] = [width] * (2 * len(numbers))
    fields[1::2] = numbers
    content = _packer(">" + f"i{kind}" * len(numbers)).pack(*fields)
    return _sized(_array_head(1, 0, oid, len(numbers), 1) + content)


def _sized(content: bytes) -> bytes:
    return _length(len(content)) + content
