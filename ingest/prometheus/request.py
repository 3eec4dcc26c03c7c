"""Parameters of Prometheus' API, as its server reads them: times, durations, forms, selectors.

Messages are Prometheus' (web/api/v1/api.go): clients show them, and people look for them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ingest.errors import PromqlError
from ingest.http.strict import query_pairs
from ingest.promql.matchers import Matcher
from ingest.promql.parser import parse_duration_ms, parse_selector
from ingest.storage.selecting import NEWEST_MS, OLDEST_MS

MOST_PARAMETERS = 10_000
MOST_STEPS = 11_000
"""Of a range query: a day at ten seconds, a week at a minute, a year at an hour."""
FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
ESCAPED = re.compile(r"_(?:_|[0-9a-fA-F]{1,6}_)")


class BadParameter(PromqlError):
    """A parameter that is missing or cannot be read."""

    error_type = "bad_data"


class Form:
    """Parameters of a request: those of its body, then those of its query string.

    Args:
        pairs: names and values.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """The first value; empty if there is none."""
        return self._values.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        """Every value."""
        return self._values.get(name, [])

    def time_ms(self, name: str, default_ms: int) -> int:
        """A time in milliseconds since 1970.

        Raises:
            BadParameter: it is none.
        """
        text = self.text(name)
        if not text:
            return default_ms
        try:
            return time_ms(text)
        except ValueError as error:
            raise BadParameter(f'invalid parameter "{name}": {error}') from None

    def duration_seconds(self, name: str, default: float) -> float:
        """A duration.

        Raises:
            BadParameter: it is none.
        """
        text = self.text(name)
        if not text:
            return default
        try:
            return duration_seconds(text)
        except ValueError as error:
            raise BadParameter(f'invalid parameter "{name}": {error}') from None

    def limit(self) -> int:
        """How many are wanted at most; 0 is all.

        Raises:
            BadParameter: it is no number, or below zero.
        """
        text = self.text("limit")
        if not text:
            return 0
        if not INTEGER.fullmatch(text):
            raise BadParameter(
                f'invalid parameter "limit": strconv.Atoi: parsing "{text}": invalid syntax'
            )
        if int(text) < 0:
            raise BadParameter('invalid parameter "limit": limit must be non-negative')
        return int(text)

    def number(self, name: str, default: int) -> int:
        """A whole number, of any sign.

        Raises:
            BadParameter: it is none.
        """
        text = self.text(name)
        if not text:
            return default
        if not INTEGER.fullmatch(text):
            raise BadParameter(f"{name} must be a number")
        return int(text)

    def selectors(self, required: bool = False) -> list[list[Matcher]]:
        """What stands in each `match[]`.

        Raises:
            BadParameter: one is no selector, or there is none.
        """
        found = []
        for text in self.all("match[]"):
            try:
                matchers = parse_selector(text)
            except PromqlError as error:
                raise BadParameter(f'invalid parameter "match[]": {error}') from None
            if all(matcher.matches("") for matcher in matchers):
                raise BadParameter(
                    'invalid parameter "match[]": match[] must contain at least one non-empty'
                    " matcher"
                )
            found.append(matchers)
        if required and not found:
            raise BadParameter("no match[] parameter provided")
        return found


def read_form(query: str, body: bytes | None) -> Form:
    """Parameters of a request.

    Args:
        query: its query string.
        body: of a POST; it is a form.

    Raises:
        BadParameter: it is not UTF-8, or there are too many.
    """
    try:
        pairs = query_pairs(body.decode(), MOST_PARAMETERS) if body else []
        return Form([*pairs, *query_pairs(query, MOST_PARAMETERS)])
    except ValueError as error:
        raise BadParameter(f"error parsing form values: {error}") from None


def time_ms(text: str) -> int:
    """Seconds since 1970 with decimals, or RFC 3339.

    Raises:
        ValueError: it is neither.
    """
    if FLOAT.fullmatch(text):
        seconds = float(text)
        if math.isfinite(seconds):
            return min(max(round(seconds * 1000), OLDEST_MS), NEWEST_MS)
    elif RFC3339.fullmatch(text):
        try:
            parsed = datetime.fromisoformat(text.upper())
            return math.floor(parsed.timestamp() * 1000)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f'cannot parse "{text}" to a valid timestamp')


def duration_seconds(text: str) -> float:
    """Seconds with decimals, or `1h30m`.

    Raises:
        ValueError: it is neither, or longer than 292 years.
    """
    if FLOAT.fullmatch(text):
        seconds = float(text)
        if abs(seconds) < 2**63 / 1e9:
            return seconds
        raise ValueError(f'cannot parse "{text}" to a valid duration. It overflows int64')
    try:
        return parse_duration_ms(text) / 1000
    except (ValueError, PromqlError):
        raise ValueError(f'cannot parse "{text}" to a valid duration') from None


class Steps(NamedTuple):
    """The times that a range query is evaluated at: `start_ms, start_ms + step_ms, … <= end_ms`."""

    start_ms: int
    end_ms: int
    step_ms: int


def steps_of(form: Form) -> Steps:
    """Those of a request.

    Raises:
        BadParameter: one of them is missing, or there are too many steps.
    """
    for name in ("start", "end"):
        if not form.text(name):
            raise BadParameter(f'invalid parameter "{name}": cannot parse "" to a valid timestamp')
    start_ms, end_ms = form.time_ms("start", 0), form.time_ms("end", 0)
    if end_ms < start_ms:
        raise BadParameter('invalid parameter "end": end timestamp must not be before start time')
    if not form.text("step"):
        raise BadParameter('invalid parameter "step": cannot parse "" to a valid duration')
    step_ms = round(form.duration_seconds("step", 0) * 1000)
    if step_ms <= 0:
        raise BadParameter(
            'invalid parameter "step": zero or negative query resolution step widths are not'
            " accepted. Try a positive integer"
        )
    if (end_ms - start_ms) // step_ms > MOST_STEPS:
        raise BadParameter(
            f"exceeded maximum resolution of {MOST_STEPS:,} points per timeseries. Try decreasing"
            " the query resolution (?step=XX)"
        )
    return Steps(start_ms, end_ms, step_ms)


def label_name(path: str) -> str:
    """The label that `label/<name>/values` means: `U__` begins one with characters that URLs of old
    clients could not hold, each other one between underscores (`_2e_` is a dot, `__` one of them).

    Raises:
        BadParameter: it is the name of no label.
    """
    name = path
    if path.startswith("U__"):
        name = ESCAPED.sub(_unescaped, path[3:])
    if not name:
        raise BadParameter(f'invalid label name: "{path}"')
    return name


def _unescaped(found: re.Match[str]) -> str:
    if found[0] == "__":
        return "_"
    number = int(found[0][1:-1], 16)
    return chr(number) if number < 0x11_0000 and not 0xD800 <= number < 0xE000 else "\ufffd"
