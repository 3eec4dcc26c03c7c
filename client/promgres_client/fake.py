"""Clients for the tests of applications: they keep what a real one would send."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from itertools import islice
from types import TracebackType
from typing import Any, Callable, TypeVar

from promgres_client.buffer import Item
from promgres_client.items import MEASURE, Moment
from promgres_client.reading import Event, Measure, exact_number, moment_of, utc_of
from promgres_client.recorder import Recorder

Row = TypeVar("Row", Measure, Event)


class _Fake(Recorder):
    """Takes and refuses what the real clients do, but raises by default.

    Attributes:
        recorded_measures: oldest first, as a server would give them back.
        recorded_events: oldest first.
        dropped: calls that were refused (with `strict=False`).
    """

    def __init__(self, *, strict: bool = True, default: Callable[[Any], Any] | None = None) -> None:
        super().__init__(strict, default)
        self.recorded_measures: list[Measure] = []
        self.recorded_events: list[Event] = []
        self.dropped = 0

    def clear(self) -> None:
        """Forget what was recorded."""
        self.recorded_measures.clear()
        self.recorded_events.clear()

    def _put(self, item: Item) -> None:
        body = json.loads(item.text)
        when, name, attributes = _when(body), body["name"], body.get("attributes", {})
        if item.kind == MEASURE:
            value = json.loads(item.text, parse_float=exact_number)["value"]
            self.recorded_measures.append(Measure(when, name, value, attributes))
        else:
            self.recorded_events.append(Event(when, name, attributes))

    def _lost(self, cause: str, items: int, reason: str) -> None:
        self.dropped += items


class FakeClient(_Fake):
    """Stands in for `Client`.

    ```python
    client = FakeClient()
    checkout(client)
    assert client.recorded_events[0].name == "checked_out"
    ```
    """

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def flush(self, timeout: float | None = None) -> bool:
        """There is nothing to wait for."""
        return True

    def close(self, timeout: float | None = None) -> bool:
        """There is nothing to wait for."""
        return True

    def measures(
        self,
        name: str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[Measure]:
        """What was recorded, as `Client.measures` gives it."""
        yield from _choose(self.recorded_measures, name, since, until, attributes, limit)

    def events(
        self,
        name: str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """What was recorded, as `Client.events` gives it."""
        yield from _choose(self.recorded_events, name, since, until, attributes, limit)


class FakeAsyncClient(_Fake):
    """Stands in for `AsyncClient`."""

    async def __aenter__(self) -> FakeAsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def flush(self, timeout: float | None = None) -> bool:
        """There is nothing to wait for."""
        return True

    async def close(self, timeout: float | None = None) -> bool:
        """There is nothing to wait for."""
        return True

    async def measures(
        self,
        name: str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Measure]:
        """What was recorded, as `AsyncClient.measures` gives it."""
        for row in _choose(self.recorded_measures, name, since, until, attributes, limit):
            yield row

    async def events(
        self,
        name: str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Event]:
        """What was recorded, as `AsyncClient.events` gives it."""
        for row in _choose(self.recorded_events, name, since, until, attributes, limit):
            yield row


def _choose(
    rows: Iterable[Row],
    name: str | None,
    since: Moment | None,
    until: Moment | None,
    attributes: Mapping[str, Any] | None,
    limit: int | None,
) -> Iterator[Row]:
    """The rows that a query finds, newest first."""
    found = (
        row
        for row in sorted(rows, key=lambda row: row.time)[::-1]
        if (name is None or row.name == name)
        and (since is None or row.time >= utc_of(since))
        and (until is None or row.time < utc_of(until))
        and _contains(row.attributes, attributes or {})
    )
    return islice(found, limit)


def _contains(whole: Any, part: Any) -> bool:
    """Containment as PostgreSQL's jsonb has it, `whole @> part`."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(
            key in whole and _contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, (list, tuple)):
        return isinstance(whole, list) and all(
            any(_contains(element, wanted) for element in whole) for wanted in part
        )
    return bool(whole == part)


def _when(body: Mapping[str, Any]) -> datetime:
    recorded = body.get("time")
    if recorded is None:
        return datetime.now(timezone.utc)
    return moment_of(recorded) if isinstance(recorded, str) else utc_of(recorded)
