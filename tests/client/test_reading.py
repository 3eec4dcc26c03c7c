"""Reading back page by page."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from promgres_client import AnswerError, AsyncClient, Client, Event, Measure, Unreachable
from promgres_client.reading import moment_of
from tests.support.processes import free_port
from tests.support.records_server import RecordsServer, Reply, records_server

MEASURES = '[{"time":"2026-03-01T10:00:00.12Z","name":"m","value":%s,"attributes":{"a":"ä"}}]'
PAGE = "/api/v1/measure?shape=flat&name=m&from=2026-01-01T00%3A00%3A00%2B00%3A00"
WHEN = datetime(2026, 3, 1, 10, 0, 0, 120_000, UTC)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def serve_two_pages(server: RecordsServer) -> None:
    exact = "12345678901234567890.123456789"
    server.pages[PAGE + "&limit=1000"] = Reply(200, MEASURES % "0.1", {"X-Next-Cursor": "a/b"})
    server.pages[PAGE + "&cursor=a%2Fb&limit=1000"] = Reply(200, MEASURES % exact)


EXPECTED = [
    Measure(WHEN, "m", 0.1, {"a": "ä"}),
    Measure(WHEN, "m", Decimal("12345678901234567890.123456789"), {"a": "ä"}),
]


def test_pages_are_followed() -> None:
    with records_server() as server, Client(server.url) as client:
        serve_two_pages(server)
        assert list(client.measures("m", since=SINCE)) == EXPECTED


async def test_pages_are_followed_by_asyncio() -> None:
    with records_server() as server:
        serve_two_pages(server)
        async with AsyncClient(server.url) as client:
            assert [row async for row in client.measures("m", since=SINCE)] == EXPECTED


def test_filters_and_limit() -> None:
    row = {"time": "2026-03-01T10:00:00Z", "name": "e", "attributes": {}}
    with records_server() as server, Client(server.url) as client:
        path = "/api/v1/event?shape=flat&to=2026-03-01T10%3A00%3A00%2B00%3A00"
        path += "&attributes=%7B%22a%22%3A+1%7D&limit=2"
        server.pages[path] = Reply(200, json.dumps([row, row]), {"X-Next-Cursor": "more"})
        rows = list(client.events(until=WHEN.replace(microsecond=0), attributes={"a": 1}, limit=2))
        assert rows == [Event(WHEN.replace(microsecond=0), "e", {})] * 2


def test_short_pages_do_not_count_as_full_ones() -> None:
    row = {"time": "2026-03-01T10:00:00Z", "name": "e", "attributes": {}}
    more = {"X-Next-Cursor": "c"}
    with records_server() as server, Client(server.url) as client:
        path = "/api/v1/event?shape=flat"
        server.pages[path + "&limit=3"] = Reply(200, json.dumps([row]), more)
        server.pages[path + "&cursor=c&limit=2"] = Reply(200, json.dumps([row, row]), more)
        assert len(list(client.events(limit=3))) == 3


@pytest.mark.parametrize("body", [
    "no scope\n read",
    '{"code":"42501","message":"no scope","details":"read","hint":null}',
    '{"code":"42501","message":"no scope: read","details":null,"hint":null}',
])  # fmt: skip
def test_a_refusal_raises(body: str) -> None:
    words = "no scope read" if body.startswith("no") else "no scope: read"
    with records_server() as server, Client(server.url) as client:
        server.pages["/api/v1/event?shape=flat&limit=1000"] = Reply(403, body)
        with pytest.raises(AnswerError, match=f"answered 403: {words}$") as caught:
            list(client.events())
        assert caught.value.status == 403


def test_nobody_answers() -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(Unreachable, match="ConnectionRefusedError"),
    ):
        list(client.events())


@pytest.mark.parametrize("text", ["", "yesterday", "2026-03-01", "2026-03-01T10:00:00"])
def test_no_time_stamp(text: str) -> None:
    with pytest.raises(ValueError):
        moment_of(text)
