"""What the client makes of a server's answers, over real HTTP."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from promgres_client import Client, Refusal, delivery
from tests.support.processes import free_port
from tests.support.records_server import STORED, Reply, records_server

KEY = "pmk_aaaabbbbcccc_notasecretatall"
TROUBLE = [
    Reply(503, "busy"),
    Reply(503, "busy", {"Retry-After": "0"}),
    Reply(429, "slow down"),
    Reply(500, "oops"),
    Reply(408, "late"),
    Reply(cut=True),
    Reply(cut=True, stores=True),
]


def refused(*positions: int) -> Reply:
    errors = [{"item": position, "reason": f"bad {position}"} for position in positions]
    return Reply(400, json.dumps({"stored": 0, "errors": errors}))


@pytest.mark.parametrize("reply", TROUBLE)
def test_trouble_of_the_server_passes(reply: Reply) -> None:
    with records_server(reply, reply) as server, Client(server.url) as client:
        client.event("one")
        client.event("two")
        assert client.flush()
        assert (client.acknowledged, client.dropped, client.pending) == (2, 0, 0)
        assert server.names() == ["one", "two"]
        first, *again = [push.items for push in server.pushes]
        assert again
        assert all(items == first for items in again), "the same keys and times each time"


def test_nobody_listens_at_first() -> None:
    port = free_port()
    with Client(f"http://127.0.0.1:{port}", retry_for=0) as client:
        client.event("nobody hears it")
        assert client.flush()
        assert client.dropped_by_cause == {"given up": 1}


def test_an_answer_lost_after_storing_costs_a_repetition() -> None:
    with records_server(Reply(cut=True, stores=True)) as server, Client(server.url) as client:
        client.measure("one", 1)
        assert client.flush()
        assert (len(server.stored), server.repeated) == (1, 1)


def test_a_dead_kept_connection_is_replaced_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with records_server(STORED, Reply(cut=True)) as server, Client(server.url, senders=1) as client:
        client.event("one")
        assert client.flush()
        client.event("two")
        assert client.flush()
        assert server.names() == ["one", "two"]
        assert not caplog.records, "nothing was delayed"


def test_a_connection_is_kept() -> None:
    with records_server() as server, Client(server.url, senders=1) as client:
        for name in ("one", "two", "three"):
            client.event(name)
            assert client.flush()
        assert len({push.connection for push in server.pushes}) == 1


def test_the_named_items_are_left_out_and_the_rest_is_sent() -> None:
    heard: list[Refusal] = []
    with (
        records_server(refused(1, 3), refused(0)) as server,
        Client(server.url, on_refused=heard.append) as client,
    ):
        for name in "abcde":
            client.event(name)
        assert client.flush()
        assert server.names() == ["c", "e"]
        assert (client.acknowledged, client.dropped_by_cause) == (2, {"refused": 3})
        assert [json.loads(refusal.item)["name"] for refusal in heard] == ["b", "d", "a"]
        assert [refusal.reason for refusal in heard] == ["400: bad 1", "400: bad 3", "400: bad 0"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, "what?"),
        Reply(400, '{"errors":[]}'),
        Reply(400, '{"errors":[{"item":7},{"item":-1},{"item":"0"},{"item":true},5]}'),
        Reply(400, "[]"),
        Reply(401, "no key"),
        Reply(403, "no scope"),
        Reply(404, "nothing here"),
        Reply(301, "", {"Location": "/elsewhere"}),
    ],
)
def test_a_refusal_that_names_no_item_is_final(reply: Reply) -> None:
    with records_server(reply) as server, Client(server.url) as client:
        client.event("one")
        client.event("two")
        assert client.flush()
        client.event("three")
        assert client.flush()
        assert (client.acknowledged, client.dropped_by_cause) == (1, {"refused": 2})
        assert len(server.pushes) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_was_good_once_is_tried_on(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_KEY_SECONDS", 0.0)
    replies = [Reply(201, '{"stored":1}'), *[Reply(status, "revoked")] * 2]
    with records_server(*replies) as server, Client(server.url) as client:
        for name in ("before", "after"):
            client.event(name)
            assert client.flush()
        assert (client.acknowledged, client.dropped) == (2, 0)
        assert len(server.pushes) == 4


def test_some_are_stored_and_nobody_says_which() -> None:
    reply = Reply(400, '{"stored":2,"errors":[{"item":null,"reason":"disk on fire"}]}')
    with records_server(reply) as server, Client(server.url) as client:
        for name in "abc":
            client.event(name)
        assert client.flush()
        assert (client.acknowledged, client.dropped_by_cause) == (2, {"refused": 1})


def test_a_request_that_is_too_large_is_sent_in_halves() -> None:
    too_large = Reply(413, "too large")
    with records_server(too_large, too_large) as server, Client(server.url) as client:
        for number in range(8):
            client.event(str(number))
        assert client.flush()
        assert [len(push.items) for push in server.pushes] == [8, 4, 2, 2, 4]
        assert server.names() == list("01234567")


def test_one_item_that_is_too_large_is_refused() -> None:
    with records_server(Reply(413, "too large")) as server, Client(server.url) as client:
        client.event("large")
        assert client.flush()
        assert client.dropped_by_cause == {"refused": 1}


def test_kinds_go_to_their_own_paths_and_share_a_request_where_they_mix() -> None:
    with records_server() as server, Client(server.url, KEY) as client:
        client.measure("m", 1)
        assert client.flush()
        client.event("e")
        assert client.flush()
        client.measure("m", 2)
        client.event("e", a=1)
        assert client.flush()
        measure, event, both = server.pushes
        assert (measure.path, event.path) == ("/api/v1/measure", "/api/v1/event")
        assert [list(item) for item in both.items] == [["M"], ["E"]]
        assert both.items[1]["E"]["attributes"] == {"a": 1}
        assert measure.headers["Authorization"] == f"Bearer {KEY}"
        assert measure.headers["Content-Type"] == "application/json"


def test_a_path_before_the_routes_is_kept() -> None:
    with records_server() as server, Client(f"{server.url}/metrics/") as client:
        client.event("e")
        assert client.flush()
        assert server.pushes[0].path == "/metrics/api/v1/event"


def test_compressed() -> None:
    with records_server() as server, Client(server.url, gzip=True) as client:
        for number in range(100):
            client.measure("m", number)
        assert client.flush()
        (push,) = server.pushes
        assert push.headers["Content-Encoding"] == "gzip"
        assert [item["value"] for item in push.items] == list(range(100))


def test_two_requests_are_under_way_at_once() -> None:
    gate = threading.Event()
    held = Reply(hold=gate, stores=True)
    with records_server(held, held) as server, Client(server.url, batch_items=2) as client:
        for name in "abcd":
            client.event(name)
        server.wait_for_pushes(2)
        assert client.acknowledged == 0
        gate.set()
        assert client.flush()
        assert len({push.connection for push in server.pushes}) == 2


def test_trouble_is_told_once_and_without_the_key(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        records_server(*[Reply(503, "busy")] * 3, Reply(401, "no"), Reply(401, "no")) as server,
        Client(server.url, KEY) as client,
    ):
        for _ in range(2):
            client.event("e")
            assert client.flush()
        assert KEY not in repr(client) + repr(vars(client)) + repr(vars(client._pipeline.endpoint))
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "promgres: not delivered yet, trying again: 503: busy",
        "promgres: 1 lost (refused, 1 so far): 401: no",
        "promgres: 1 more lost (refused, 2 in all)",
    ]


def test_a_callback_that_fails_loses_nothing() -> None:
    def fail(refusal: Refusal) -> None:
        raise RuntimeError("mine")

    with records_server(refused(0)) as server, Client(server.url, on_refused=fail) as client:
        client.event("a")
        client.event("b")
        assert client.flush()
        assert server.names() == ["b"]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("127.0.0.1:9273", None),
        ("ftp://127.0.0.1", None),
        ("http://", None),
        (f"http://me:{KEY}@127.0.0.1", None),
        (f"http://127.0.0.1?key={KEY}", None),
        ("http://127.0.0.1", ""),
        ("http://127.0.0.1", f"{KEY}\r\nX-Evil: 1"),
        ("http://127.0.0.1", f"{KEY}\N{EURO SIGN}"),
    ],
)
def test_a_url_or_key_that_cannot_be_used(url: str, key: str | None) -> None:
    with pytest.raises(ValueError) as caught:
        Client(url, key)
    assert KEY not in str(caught.value)
