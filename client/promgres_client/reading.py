"""Reading back: the pages of a query, one request each."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

from promgres_client.backoff import Backoff
from promgres_client.delivery import PATHS
from promgres_client.errors import AnswerError, Unreachable
from promgres_client.exchange import Answer, Endpoint, Exchange
from promgres_client.items import Moment

PAGE_ITEMS = 1_000
TRIES = 5
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\d*(?:Z|\+00:00)")


class Measure(NamedTuple):
    """A stored measure. The value is a Decimal where a float would not be exact."""

    time: datetime
    name: str
    value: int | float | Decimal
    attributes: Any


class Event(NamedTuple):
    """A stored event."""

    time: datetime
    name: str
    attributes: Any


class Query(NamedTuple):
    """What to read: `M` or `E`, and which of them. None does not filter."""

    kind: str
    name: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    attributes: Mapping[str, Any] | None = None
    limit: int | None = None

    def parameters(self) -> dict[str, str]:
        """The same as parameters of a URL, without the size of a page."""
        given: dict[str, str] = {"shape": "flat"}
        if self.name is not None:
            given["name"] = self.name
        if self.since is not None:
            given["from"] = utc_of(self.since).isoformat()
        if self.until is not None:
            given["to"] = utc_of(self.until).isoformat()
        if self.attributes is not None:
            given["attributes"] = json.dumps(dict(self.attributes), allow_nan=False)
        return given


class Reader:
    """Reads pages over one connection."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._exchange = Exchange(endpoint)

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """What is stored, newest first.

        Raises:
            AnswerError: the server refuses.
            Unreachable: it does not answer, after some tries.
        """
        for page in self.pages(query):
            yield from page

    def pages(self, query: Query) -> Iterator[list[dict[str, Any]]]:
        """The same page by page."""
        for body in self.bodies(query):
            yield json.loads(body, parse_float=exact_number)

    def bodies(self, query: Query) -> Iterator[bytes]:
        """The same, each page as the JSON that the server wrote."""
        parameters, left = query.parameters(), query.limit
        try:
            while left is None or left > 0:
                size = PAGE_ITEMS if left is None else min(left, PAGE_ITEMS)
                answer = self._get(PATHS[query.kind], {**parameters, "limit": str(size)})
                yield answer.body
                cursor = answer.headers.get("X-Next-Cursor")
                if not cursor:
                    return
                parameters["cursor"] = cursor
                if left is not None:  # a page of large items ends before it has `size` of them
                    left -= len(json.loads(answer.body))
        finally:
            self._exchange.close()

    def _get(self, path: str, parameters: Mapping[str, str]) -> Answer:
        backoff, target = Backoff(), f"{path}?{urlencode(parameters)}"
        for left in reversed(range(TRIES)):
            asked_seconds = 0.0
            try:
                answer = self._exchange.request("GET", target)
            except Unreachable:
                if not left:
                    raise
            else:
                if answer.status == 200:
                    return answer
                if not left or (answer.status < 500 and answer.status != 429):
                    raise AnswerError(answer.status, answer.reason)
                asked_seconds = answer.retry_after_seconds()
            time.sleep(backoff.next_seconds(asked_seconds))
        raise AssertionError("the last try answers or raises")


def measure_of(row: Mapping[str, Any]) -> Measure:
    """A row of an answer as a measure."""
    return Measure(moment_of(row["time"]), row["name"], row["value"], row["attributes"])


def event_of(row: Mapping[str, Any]) -> Event:
    """A row of an answer as an event."""
    return Event(moment_of(row["time"]), row["name"], row["attributes"])


def moment_of(text: str) -> datetime:
    """A timestamp of an answer, in UTC.

    Raises:
        ValueError: it is none.
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"no timestamp: {text!r}")
    whole = datetime.fromisoformat(found[1]).replace(tzinfo=timezone.utc)
    return whole + timedelta(microseconds=int((found[2] or "").ljust(6, "0")))


def utc_of(moment: Moment) -> datetime:
    """A moment as a datetime in UTC.

    Raises:
        ValueError: a datetime without a time zone.
    """
    if not isinstance(moment, datetime):
        return datetime.fromtimestamp(moment, timezone.utc)
    if moment.utcoffset() is None:
        raise ValueError("a datetime needs a time zone")
    return moment.astimezone(timezone.utc)


def exact_number(text: str) -> float | Decimal:
    """A JSON number with a point or an exponent: a float if that says the same."""
    number = float(text)
    return number if Decimal(repr(number)) == Decimal(text) else Decimal(text)
