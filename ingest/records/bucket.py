"""Widths of buckets, as clients write them."""

from __future__ import annotations

import re

from ingest.errors import BadRequest

UNITS = {
    "w": "weeks",
    "d": "days",
    "h": "hours",
    "m": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
}
LONGEST_TEXT = 64

_PROMETHEUS = re.compile(
    r"(?:(?P<w>\d{1,6})w)?(?:(?P<d>\d{1,6})d)?(?:(?P<h>\d{1,6})h)?"
    r"(?:(?P<m>\d{1,6})m)?(?:(?P<s>\d{1,6})s)?(?:(?P<ms>\d{1,6})ms)?",
    re.ASCII,
)
_INTERVAL = re.compile(r"(?=.*\d)[A-Za-z0-9 .:,@-]+", re.ASCII)


def parse_bucket(text: str) -> str:
    """The width as PostgreSQL's interval reads it: `5m`, `1h30m` (Prometheus), `1 month`, `PT5M`.

    What is not Prometheus' is for PostgreSQL to judge, which also refuses what is not positive.

    Raises:
        BadRequest: it is certainly no positive interval.
    """
    match = _PROMETHEUS.fullmatch(text)
    if match and text:
        return _from_prometheus(match)
    if len(text) > LONGEST_TEXT or not _INTERVAL.fullmatch(text):
        raise no_interval()
    return text


def no_interval() -> BadRequest:
    """What the client hears, here or once PostgreSQL has looked."""
    return BadRequest("bucket is not a positive interval: write 5m, 1h, 1d or 1 month")


def _from_prometheus(match: re.Match[str]) -> str:
    given = {unit: int(number) for unit, number in match.groupdict().items() if number}
    if not any(given.values()):
        raise no_interval()
    return " ".join(f"{number} {UNITS[unit]}" for unit, number in given.items())
