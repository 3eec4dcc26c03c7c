"""The fields of a measure or event, each read exactly or refused with a reason."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from math import isinf

import msgspec

from ingest.errors import InvalidItem
from ingest.wire.records.jsonb import shortened

LONGEST_NAME_BYTES = 500
LONGEST_KEY = 255
LARGEST_SECONDS = 10**11
"""A time as a number is milliseconds from here on: as seconds this would be the year 5138."""

MOST_PLACES = 100
"""Digits on each side of the point of an exact value, as in `routing.router.is_decimal`."""

_SURELY_EXACT = 15
"""Every decimal of so many digits is told apart from all others by its float (IEEE 754)."""

_ALL_INTEGERS_BELOW = 2**53
_NO_HALVES_FROM = 1e40

_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
_number = re.compile(rb"-?[0-9]+(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_rfc_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,30})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_text = msgspec.json.Decoder(str).decode


def checked_name(name: str) -> str:
    """The name of a measure or event.

    Raises:
        InvalidItem: it is empty, too long, or contains control characters.
    """
    if not name:
        raise InvalidItem("the name is empty")
    if not name.isprintable() and _control(name):
        raise InvalidItem(f"the name {shortened(name)} contains control characters")
    if len(name) > LONGEST_NAME_BYTES // 4 and len(name.encode()) > LONGEST_NAME_BYTES:
        raise InvalidItem(f"the name is longer than {LONGEST_NAME_BYTES} bytes")
    return name


def checked_key(key: str) -> str:
    """An idempotency key.

    Raises:
        InvalidItem: it is empty or too long.
    """
    if not 0 < len(key) <= LONGEST_KEY:
        raise InvalidItem(f"the idempotency key needs 1 to {LONGEST_KEY} characters")
    return key


def number_of(raw: bytes) -> tuple[float, str | None]:
    """A value: its float, and its decimal text where the float is another number.

    A float stands for its shortest decimal, as everywhere in Promgres: 0.1 needs no text beside it.
    Python and PostgreSQL disagree about that where a decimal lies half-way between two floats, as
    1e23 does, which happens from 2^53 to 10^40: there it has to be all digits of the float, too.

    Args:
        raw: any JSON.

    Raises:
        InvalidItem: it is not a number, or one that cannot be stored exactly.
    """
    if raw[0] not in b"-0123456789":
        raise InvalidItem(f"the value has to be a number, not {_kind_of(raw)}")
    text = raw.decode()
    value = float(text)
    if len(text) <= _SURELY_EXACT and "e" not in text and "E" not in text:
        return value, None
    if isinf(value):
        raise InvalidItem(f"the value {shortened(text)} is beyond what a float holds")
    if repr(value) == text and abs(value) < _ALL_INTEGERS_BELOW:
        return value, None
    return value, _exact(text, value)


def _exact(text: str, value: float) -> str | None:
    match = _number.fullmatch(text.encode())
    assert match, "JSON says so"
    exponent = int(match.group(2) or 0) if len(match.group(2) or b"") <= 6 else None
    if exponent is None or abs(exponent) > 10_000 or len(text) > 10_000:
        raise _too_exact(text)
    number = Decimal(text)
    is_doubtful = _ALL_INTEGERS_BELOW <= abs(value) < _NO_HALVES_FROM
    if number == Decimal(repr(value)) and not (is_doubtful and number != Decimal(value)):
        return None
    plain = f"{number:f}"
    whole, _, fraction = plain.lstrip("-").partition(".")
    if max(len(whole), len(fraction)) > MOST_PLACES:
        raise _too_exact(text)
    return plain


def _too_exact(text: str) -> InvalidItem:
    return InvalidItem(
        f"the value {shortened(text)} can be stored neither as a float nor with {MOST_PLACES}"
        " digits on each side of the point"
    )


def timestamp_us_of(raw: bytes) -> int | None:
    """Microseconds since 1970 of a time: RFC 3339 text, or seconds or milliseconds since 1970 as a
    number. What is finer than a microsecond is cut off. None for null.

    Args:
        raw: any JSON.

    Raises:
        InvalidItem: it is no time.
    """
    if raw[0] in b'"':
        return _from_text(_text(raw))
    if raw == b"null":
        return None
    if match := _number.fullmatch(raw):
        return _from_number(raw.decode(), match)
    raise InvalidItem(f"the time has to be text or a number, not {_kind_of(raw)}")


def _from_text(text: str) -> int:
    upper = text.upper()
    if not _rfc_3339.fullmatch(upper):
        raise _no_time(text)
    try:
        since = datetime.fromisoformat(upper) - _EPOCH
    except (ValueError, OverflowError):
        raise _no_time(text) from None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _from_number(text: str, match: re.Match[bytes]) -> int:
    if len(text) > 40 or len(match.group(2) or b"") > 3:
        raise _no_time(text)
    number = Decimal(text)
    if not -LARGEST_SECONDS * 1000 < number < LARGEST_SECONDS * 1000:
        raise _no_time(text)
    return int(number * (1_000_000 if number < LARGEST_SECONDS else 1000))


def _no_time(text: str) -> InvalidItem:
    return InvalidItem(
        f"the time {shortened(text)} is neither RFC 3339, such as 2026-01-31T12:00:00Z, nor seconds"
        " or milliseconds since 1970"
    )


def _kind_of(raw: bytes) -> str:
    kinds = {b'"': "text", b"{": "an object", b"[": "an array", b"n": "null"}
    return kinds.get(raw[:1]) or ("a number" if raw[:1] in b"-0123456789" else raw.decode())
