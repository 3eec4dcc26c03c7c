"""What a replay is to do: from when to when, and in which pieces."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

from ingest.backfill.rules import Group, parse_duration_ms
from ingest.errors import OperatorError

POINTS = 1000
"""Evaluations of a rule in one query, unless more or fewer bins are asked for."""
MOST_POINTS = 11_000
"""Prometheus answers no query of more."""


@dataclass(frozen=True)
class Window:
    """Evaluations of one group at `start_ms`, and at every step after it before `end_ms`."""

    group: Group
    start_ms: int
    end_ms: int

    @property
    def points(self) -> int:
        """How many evaluations of each rule that are."""
        return -(-(self.end_ms - self.start_ms) // self.group.step_ms)

    @property
    def last_ms(self) -> int:
        """The last evaluation."""
        return self.start_ms + (self.points - 1) * self.group.step_ms


@dataclass(frozen=True)
class Plan:
    """A replay as it was asked for.

    Attributes:
        groups: with what earlier rules record put in its place.
        datasource: URL before `/api/v1/query_range`.
        url: endpoint of remote write.
        start, end: as they were given: a replay that is asked for again is known by these words.
        bins: in how many pieces; None: as many as `POINTS` makes.
        whose: id of the API key, if there is one.
        with_vmalert: vmalert evaluates the rules.
    """

    groups: Sequence[Group]
    datasource: str
    url: str
    start: str
    end: str
    bins: int | None = None
    whose: str = ""
    with_vmalert: bool = False
    now_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000, compare=False)

    def identity(self) -> str:
        """Tells this replay from others: 16 hexadecimal digits, without any secret."""
        parts = {key: value for key, value in asdict(self).items() if key not in ("bins", "now_ms")}
        parts["datasource"], parts["url"] = shown_url(self.datasource), shown_url(self.url)
        for rule in (rule for group in parts["groups"] for rule in group["rules"]):
            del rule["place"]  # the same file may be named in other ways
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def period_ms(self) -> tuple[int, int]:
        """From when to when, in milliseconds, where `start` and `end` count from now.

        Raises:
            OperatorError: nothing is between them, or the end is ahead.
        """
        start_ms = parse_moment(self.start, self.now_ms)
        end_ms = parse_moment(self.end, self.now_ms)
        if start_ms >= end_ms:
            raise OperatorError(f"--from {self.start} is not before --to {self.end}")
        if end_ms > self.now_ms:
            raise OperatorError(f"--to {self.end} is in the future")
        return start_ms, end_ms


def plan_of(plan: Plan, start_ms: int, end_ms: int) -> list[Window]:
    """All windows, the oldest first; every group's own come one after the other without a gap.

    Evaluations are at multiples of the step since 1970 (and a group's offset after), so that two
    replays of overlapping periods meet each other's timestamps.
    """
    windows = [each for group in plan.groups for each in _windows(plan, group, start_ms, end_ms)]
    return sorted(windows, key=lambda window: window.end_ms)


def _windows(plan: Plan, group: Group, start_ms: int, end_ms: int) -> Iterator[Window]:
    step = group.step_ms
    first_ms = -(-(start_ms - group.offset_ms) // step) * step + group.offset_ms
    evaluations = max(0, -(-(end_ms - first_ms) // step))
    size = min(MOST_POINTS, -(-evaluations // plan.bins) if plan.bins else POINTS)
    for number in range(0, evaluations, max(1, size)):
        last = min(number + size, evaluations)
        yield Window(group, first_ms + number * step, first_ms + last * step)


def parse_moment(text: str, now_ms: int) -> int:
    """A point in time in milliseconds: `now`, how long ago (`1y`, `1w`), seconds since 1970, or a
    date with or without a time, in UTC unless it says more.

    Raises:
        OperatorError: it is none of these.
    """
    if text == "now":
        return now_ms
    try:
        if re.fullmatch(r"\d{9,10}(\.\d{1,3})?", text):
            return round(float(text) * 1000)
        if re.fullmatch(r"(\d+[a-z]+)+", text):
            return now_ms - parse_duration_ms(text)
        moment = datetime.fromisoformat(text)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except ValueError:
        raise OperatorError(
            f"{text!r} is not a point in time such as 2025-01-31, 2025-01-31T12:00:00Z, 90d (ago)"
            " or now"
        ) from None


def shown_url(url: str) -> str:
    """A URL without its user and password, for messages and for the state."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
