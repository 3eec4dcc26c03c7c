"""Measures and events pushed to a real daemon: every form, each stored exactly or refused."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import count

import cramjam
import pytest

from tests.acceptance.record_rows import Pusher, exactly, pusher
from tests.support.databases import Database
from tests.support.keys import bearer, create_key
from tests.support.metrics import Metrics
from tests.support.remote_write import WriteSide, send, write_side

NOW = int(time.time())
DROPS = '[{"match":{"name":"noise"},"drop":true}]'
_names = count(1)

TAKEN = {
    "64 KiB": json.dumps({"text": "x" * 65_536}),
    "1,000 keys": json.dumps({f"key {number:04}": number for number in range(1000)}),
    "deep": '{"a":' + "[" * 199 + "]" * 199 + "}",
    "unicode": '{"日本語":"\\ud83d\\ude00 \U0001f600 e\u0301 \\\\u0000 \u200b\U0010ffff"}',
    "large numbers": '{"a":9007199254740993,"b":-123456789012345678901234567890.5,"c":1e300}',
    "small numbers": '{"a":1e-300,"b":0.1000,"c":-0,"d":1E+2}',
    "nothing in it": '{"a":[],"b":{},"c":"","d":[[],{}],"":null}',
}
REFUSED = {
    "NaN": ('{"a":NaN}', "JSON has no NaN"),
    "infinite": ('{"a":[-Infinity]}', "JSON has no -Infinity"),
    "a null byte": ('{"a":"x\\u0000y"}', "U+0000"),
    "half a character": ('{"a":"\\ud83d"}', "half of a surrogate pair"),
    "too deep": ('{"a":' + "[" * 5000 + "]" * 5000 + "}", "nested more than 200 deep"),
    "a number beyond numeric": ('{"a":1e131073}', "exponent beyond"),
    "a name twice": ('{"a":1,"a":2}', "there twice"),
    "no object": ("[1]", "has to be an object"),
    "null": ("null", "has to be an object"),
}
VALUES = ["9007199254740993", "0.1", "-0.30000000000000004", "123456789012345678901234567890.125"]
VALUES += ["1e23", "6.449153493105286e16", "5e-324", "1.7976931348623157e308", "0", "1.50"]


@pytest.fixture
async def app(shared_db: Database, shared_daemon: WriteSide) -> Pusher:
    """An application on each engine."""
    return await pusher(shared_db, shared_daemon.address, f"tenant-{next(_names)}")


@pytest.fixture(scope="module")
def narrow_side(shared_postgres_db: Database) -> Iterator[WriteSide]:
    """A write side with limits, and a rule that drops."""
    settings = {
        "PROMGRES_RECEIVER__MAX_BODY_BYTES": "10000",
        "PROMGRES_LIMITS__ITEMS_PER_REQUEST": "20",
        "PROMGRES_LIMITS__ATTRIBUTES_BYTES": "1000",
        "PROMGRES_ROUTE": DROPS,
    }
    with write_side(shared_postgres_db, **settings) as side:
        yield side


@pytest.fixture
async def narrow(shared_postgres_db: Database, narrow_side: WriteSide) -> Pusher:
    """An application of it."""
    return await pusher(shared_postgres_db, narrow_side.address, f"tenant-{next(_names)}")


async def test_every_form_of_a_body(app: Pusher) -> None:
    one, two = '{"name":"one","value":1}', f'{{"name":"two","value":2,"time":{NOW}}}'
    tagged = '[{"M":{"name":"m","value":3}},{"E":{"name":"e","metadata":{"x":1}}}]'
    bodies = {f"[{one},{two}]": 2, f"{one}\n{two}\n": 2, one: 1, "[]": 0}
    for body, items in bodies.items():
        answer = app.push("measure", body.encode())
        assert (answer.status, json.loads(answer.text)) == (201, {"stored": items})
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    for kind in ("measure.json", "event"):
        assert app.push(kind, tagged.encode()).status == 201
    for encoding, compress in {"gzip": gzip.compress, "zstd": cramjam.zstd.compress}.items():
        headers = {**bearer(app.key), "Content-Encoding": encoding}
        assert app.push("event", bytes(compress(b'{"name":"z"}')), headers).status == 201
    assert [row["name"] for row in await app.measures()].count("one") == 3
    assert [row["name"] for row in await app.measures()].count("two") == 2
    assert sorted(row["name"] for row in await app.events()) == ["e", "e", "z", "z"]


async def test_attributes_are_stored_exactly(app: Pusher) -> None:
    for name, attributes in TAKEN.items():
        body = f'{{"name":"{name}","attributes":{attributes}}}'
        assert app.push("event", body.encode()).status == 201, name
    items = [{"name": name, "value": 1, "dict": ...} for name in TAKEN]
    texts = [json.dumps({**item, "dict": 0})[:-2] for item in items]
    bodies = [text + each + "}" for text, each in zip(texts, TAKEN.values(), strict=True)]
    assert app.push("measure", ("[" + ",".join(bodies) + "]").encode()).status == 201
    for rows in (await app.events(), await app.measures()):
        assert len(rows) == len(TAKEN)
        for row in rows:
            assert exactly(row["attributes"]) == exactly(TAKEN[row["name"]]), row["name"]


async def test_what_cannot_be_stored_is_refused_with_its_request(app: Pusher) -> None:
    good = '{"name":"good","value":1}'
    for name, (attributes, reason) in REFUSED.items():
        bad = f'{{"name":"bad","value":1,"attributes":{attributes}}}'
        answer = app.push("measure", f"[{good},{bad},{good}]".encode())
        document = json.loads(answer.text)
        assert (answer.status, document["stored"]) == (400, 0), name
        [error] = document["errors"]
        assert (error["item"], reason in error["reason"]) == (1, True), error
    for body in (b"", b"[{]", b'{"name":"x"', b"\xff", b"name=x"):
        answer = app.push("event", body)
        assert answer.status == 400
        assert json.loads(answer.text)["errors"][0]["reason"]
    many = json.dumps([{"name": ""}] * 150).encode()
    document = json.loads(app.push("event", many).text)
    assert (len(document["errors"]), document["more"]) == (100, 50)
    assert await app.measures() == await app.events() == []


async def test_values_are_stored_exactly(app: Pusher) -> None:
    body = "\n".join(f'{{"name":"m{n:02}","value":{text}}}' for n, text in enumerate(VALUES))
    assert app.push("measure", body.encode()).status == 201
    assert [row["value"] for row in await app.measures()] == [Decimal(text) for text in VALUES]
    for value in ('"1"', "true", "null", "1e309", "1" * 101, "[]"):
        body = f'{{"name":"m","value":{value}}}'
        assert app.push("measure", body.encode()).status == 400, value


async def test_times(app: Pusher) -> None:
    before_us = time.time_ns() // 1000
    sent: dict[str, object] = {
        "a seconds": NOW - 10,
        "b text": "2026-01-31T12:00:00.123456+01:00",
        "c milliseconds": (NOW - 10) * 1000 + 7,
        "d none": None,
    }
    for name, at in sent.items():
        assert app.push("event", {"name": name, "time": at}).status == 201
    stored = {row["name"]: row["timestamp_us"] for row in await app.events()}
    assert stored["a seconds"] == (NOW - 10) * 1_000_000
    assert stored["b text"] == 1_769_857_200_123_456
    assert stored["c milliseconds"] == (NOW - 10) * 1_000_000 + 7000
    assert before_us <= stored["d none"] <= time.time_ns() // 1000
    for at in ("1999-12-31T23:59:59Z", 0, NOW + 3600, "2026-01-31", "now", [1]):
        assert app.push("event", {"name": "x", "time": at}).status == 400, at


async def test_an_idempotency_key_stores_once(app: Pusher) -> None:
    keyed = {"name": "k", "value": 1, "idempotency_key": "one"}
    timed = {"name": "t", "value": 1, "idempotency_key": "two", "time": NOW}
    keyless = {"name": "n", "value": 1}
    for _ in range(3):
        answer = app.push("measure", [keyed, timed, keyless, keyed])
        assert json.loads(answer.text) == {"stored": 4}
    app.push("measure", {**timed, "time": NOW + 1})
    names = [row["name"] for row in await app.measures()]
    assert {name: names.count(name) for name in "ktn"} == {"k": 1, "t": 2, "n": 3}
    for _ in range(2):
        app.push("event", [{"E": {"name": "k", "idempotency_key": "one"}}])
    assert [row["name"] for row in await app.events()] == ["k"]


async def test_a_measure_is_routed_as_a_series(app: Pusher) -> None:
    app.push("measure", {"name": "Web_Requests", "value": 1})
    app.push("measure", {"name": "x", "value": 1, "attributes": {"manifest_tier": "mainnet"}})
    app.push("measure", {"name": "y", "value": 1, "attributes": {"manifest_tier": 7}})
    schemas = {row["name"]: row["schema"] for row in await app.measures()}
    assert schemas == {"Web_Requests": "cumsum", "x": "mainnet", "y": "common"}


async def test_clients_of_the_older_api(app: Pusher) -> None:
    measure = {"name": "m", "measurement": 1.5, "dict": {"a": [1]}, "unknown": 1}
    event = {"name": "e", "dict": None}
    for kind, body in (("measure", measure), ("event", event), ("event.json", event)):
        answer = app.older(kind, body)
        assert (answer.status, answer.text) == (200, "ok")
    batch = [{"M": {"name": "m", "measurement": 2, "dict": {}}}, {"E": {"name": "e", "dict": 1}}]
    assert app.older("measure", batch).text == "ok"
    for wrong in ({"name": "m", "measurement": 1}, {"name": "m", "dict": {}}, b"{", b"", [1]):
        answer = app.older("measure", wrong)
        assert (answer.status, answer.headers["Content-Type"][:10]) == (400, "text/plain")
    for key in ("wrong", app.key[:-1] + "?", ""):
        answer = app.push("event", event, {"X-PMETRICS-API-KEY": key})
        assert (answer.status, answer.text) == (403, '"api key failure"')
    url = f"http://{app.address}"
    assert send(f"{url}/healthz", None, {}, "GET").text == "ok"
    assert send(f"{url}/", None, {}, "GET").status == 200
    assert [row["value"] for row in await app.measures()] == [Decimal("1.5"), 2]
    assert [row["attributes"] for row in await app.events()] == ["null", "null", "1"]


async def test_who_may_not_write_is_told_so(app: Pusher) -> None:
    reader = await create_key(app.database, app.tenant, "read")
    for headers, status in (({"X-API-Key": "x"}, 401), (bearer(reader), 403)):
        answer = app.push("event", {"name": "e"}, headers)
        assert (answer.status, json.loads(answer.text)["stored"]) == (status, 0)
        assert "WWW-Authenticate" in answer.headers
    for method in ("PUT", "DELETE", "PATCH"):
        answer = app.push("event", {"name": "e"}, method=method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
    for header in ({"Content-Encoding": "br"}, {"Content-Type": "application/x-protobuf"}):
        assert app.push("event", {"name": "e"}, bearer(app.key) | header).status == 415
    assert await app.events() == []


async def test_limits(narrow: Pusher) -> None:
    tells = {
        "receiver": (413, {"name": "e", "dict": "x" * 10_000}),
        "items_per_request": (413, [{"name": "e"}] * 21),
        "attributes_bytes": (400, [{"name": "e", "dict": "x" * 1000}]),
    }
    for status, body in tells.values():
        answer = narrow.push("event", body)
        assert (answer.status, json.loads(answer.text)["stored"]) == (status, 0)
    assert narrow.push("event", [{"name": "e", "dict": "x" * 900}]).status == 201
    assert len(await narrow.events()) == 1


async def test_accounts_add_up(narrow: Pusher, narrow_side: WriteSide) -> None:
    key = {"idempotency_key": "k"}
    measures = [{"name": "noise", "value": 1}, {"name": "m", "value": 1, **key}]
    assert json.loads(narrow.push("measure", measures).text) == {"stored": 1}
    narrow.push("measure", [measures[1], {"E": {"name": "e"}}])
    narrow.push("event", [{"name": "e"}, {"name": ""}])
    metrics, tenant = Metrics(narrow_side.address), narrow.tenant
    metrics.assert_balanced(tenant)
    decided = {each: metrics.samples(each, tenant) for each in ("written", "duplicate", "dropped")}
    assert decided == {"written": 2, "duplicate": 1, "dropped": 1}
    pushed = {
        (kind, result): metrics.value(
            "promgres_pushed_total", tenant=tenant, kind=kind, result=result
        )
        for kind in ("measure", "event")
        for result in ("received", "rejected")
    }
    assert pushed == {
        ("measure", "received"): 3,
        ("measure", "rejected"): 0,
        ("event", "received"): 1,
        ("event", "rejected"): 2,
    }
