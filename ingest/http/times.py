"""Times as clients write them: RFC 3339, a date (its midnight in UTC), or a number of seconds or
milliseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil

from ingest.errors import BadRequest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECONDS_BELOW = 10**11
"""A smaller number is seconds (until the year 5138), any other milliseconds (from 1973 on)."""

_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,30})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_RFC_3339 = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,30}))?"
    r"(?P<offset>[Zz]|[-+ ]\d\d:\d\d)",
    re.ASCII,
)
"""A space before the offset is a `+` that was not escaped in a query string."""


def parse_time(name: str, text: str) -> datetime:
    """A time in UTC; what is finer than a microsecond is rounded up.

    Stored times are whole microseconds, so rounding up changes neither what is at or after the time
    nor what is before it.

    Args:
        name: the parameter, for the reason.

    Raises:
        BadRequest: it is no time, or not of the years 1 to 9999.
    """
    try:
        if _NUMBER.fullmatch(text):
            return _from_number(Fraction(text))
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        match = _RFC_3339.fullmatch(text)
        if match:
            return _from_fields(match)
    except (ValueError, OverflowError):
        pass
    raise BadRequest(
        f"{name} is not a time: write it as 2026-01-31T12:00:00Z, as 2026-01-31,"
        " or as a number of seconds or milliseconds since 1970"
    )


def microseconds_of(time: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (time - EPOCH) // MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The time in UTC.

    Raises:
        OverflowError: it is outside the years 1 to 9999.
    """
    return EPOCH + microseconds * MICROSECOND


def _from_number(number: Fraction) -> datetime:
    per_unit = 1_000_000 if abs(number) < SECONDS_BELOW else 1_000
    return from_microseconds(ceil(number * per_unit))


def _from_fields(match: re.Match[str]) -> datetime:
    offset = match["offset"].replace(" ", "+").upper()
    whole = datetime.fromisoformat(f"{match['date']}T{match['clock']}{offset}").astimezone(UTC)
    fraction = Fraction(f"0.{match['fraction'] or 0}") * 1_000_000
    return whole + ceil(fraction) * MICROSECOND
