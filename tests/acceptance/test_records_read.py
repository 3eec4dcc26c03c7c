"""Measures and events read over HTTP, on both ports alike."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from urllib.request import Request, urlopen

import cramjam
import pytest

from tests.support.databases import Database, blocking
from tests.support.keys import bearer, create_key
from tests.support.readapi import token
from tests.support.record_ports import PORTS, Application, Ports, both_ports
from tests.support.remote_write import send

NOW = int(datetime.now(UTC).timestamp()) // 3600 * 3600 - 7200
"""An hour that began two hours ago."""
LARGE = "123456789012345678901234567890.125"
PROBLEM = ["code", "message", "details", "hint"]


@pytest.fixture(scope="module")
def ports(shared_db: Database) -> Iterator[Ports]:
    with both_ports(shared_db) as running:
        yield running


@pytest.fixture(scope="module")
def app(ports: Ports) -> Application:
    """A tenant with a few measures and events: two names, some at one time."""
    app = ports.tenant("acme")
    measures = [
        {"name": "load", "value": n, "attributes": {"host": f"h{n % 3}", "n": n}, "time": NOW + n}
        for n in range(6)
    ]
    large = f'{{"name":"supply","value":{LARGE},"attributes":{{}},"time":{NOW}}}'
    assert app.post("write", "measure", measures).status == 201
    assert app.post("read", "measure", large.encode()).status == 201
    events = [
        {"name": "tick", "attributes": {"n": n}, "time": NOW + (0 if n < 10 else n)}
        for n in range(23)
    ]
    assert app.post("read", "event", events).status == 201
    assert app.post("read", "event", {"name": "deploy", "attributes": {"a": ["é", None]}}).status
    return app


@pytest.fixture(params=PORTS)
def port(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def time_of(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class TestShapes:
    def test_older(self, app: Application, port: str) -> None:
        rows = app.rows(port, "measure", name="supply")
        assert rows == [
            {
                "d": {"name": "supply", "measurement": LARGE, "dict": {}},
                "insertion_time": rows[0]["insertion_time"],
            }
        ]
        assert rows[0]["insertion_time"].startswith(time_of(NOW))
        assert rows[0]["insertion_time"].endswith("Z")
        (event,) = app.rows(port, "event.json", name="deploy")
        assert event["d"] == {"name": "deploy", "dict": {"a": ["é", None]}}

    def test_flat(self, app: Application, port: str) -> None:
        (row,) = app.rows(port, "measure", shape="flat", name="supply")
        assert sorted(row) == ["attributes", "name", "time", "value"]
        assert (row["name"], row["value"], row["attributes"]) == ("supply", LARGE, {})
        assert row["time"].startswith(time_of(NOW))
        (event,) = app.rows(port, "event", shape="flat", name="deploy")
        assert sorted(event) == ["attributes", "name", "time"]

    def test_buckets(self, app: Application, port: str) -> None:
        rows = app.rows(port, "measure", name="load", bucket="3s", from_=NOW)
        assert [(row["name"], row["count"], row["sum"]) for row in rows] == [
            ("load", "3", "12"),
            ("load", "3", "3"),
        ]
        newest = rows[0]
        assert (newest["min"], newest["max"], newest["avg"], newest["last"]) == ("3", "5", "4", "5")
        assert newest["bucket"].startswith(time_of(NOW + 3))
        assert len(app.rows(port, "measure", name="load", bucket="3s", limit=1)) == 1
        (month,) = app.rows(port, "measure", name="supply", bucket="1 month")
        assert month["sum"] == LARGE
        host = app.rows(port, "measure", bucket="1d", attributes='{"host":"h0"}')
        assert [row["count"] for row in host] == ["2"]


class TestFilters:
    def names(self, app: Application, port: str, **query: object) -> list[str]:
        return [row["attributes"]["n"] for row in app.rows(port, "measure", shape="flat", **query)]

    def test_newest_first_and_half_open(self, app: Application, port: str) -> None:
        assert self.names(app, port, name="load") == ["5", "4", "3", "2", "1", "0"]
        assert self.names(app, port, name="load", from_=NOW + 1, to=NOW + 3) == ["2", "1"]
        as_text = time_of(NOW + 4) + "+00:00"
        assert self.names(app, port, name="load", from_=as_text) == ["5", "4"]
        assert self.names(app, port, name="load", from_=(NOW + 5) * 1000) == ["5"]
        assert app.rows(port, "measure", from_=NOW + 3, to=NOW + 3) == []

    def test_attributes_are_contained(self, app: Application, port: str) -> None:
        assert self.names(app, port, attributes='{"host": "h1"}') == ["4", "1"]
        assert self.names(app, port, attributes='{"host": "h1", "n": 1.0}') == ["1"]
        assert app.rows(port, "measure", attributes='{"host": "nobody"}') == []
        assert len(app.rows(port, "event", attributes='{"a": ["é"]}')) == 1

    def test_names_are_exact(self, app: Application, port: str) -> None:
        for name in ("Load", "loa", "load%", "tick"):
            assert app.rows(port, "measure", name=name) == []


class TestPages:
    def pages(self, app: Application, **query: object) -> list[list[Any]]:
        """Page after page by the link, from one port and the other in turn."""
        parameters: dict[str, object] = {"shape": "flat", "name": "tick", **query}
        pages = []
        for turn in range(100):
            answer = app.get(PORTS[turn % 2], "event", parameters)
            assert answer.status == 200, answer.text
            pages.append(json.loads(answer.text))
            if "Link" not in answer.headers:
                assert "X-Next-Cursor" not in answer.headers
                return pages
            link, _, relation = answer.headers["Link"].partition("; ")
            assert relation == 'rel="next"'
            parameters = dict(parse_qsl(link[2:-1]))
            assert parameters["cursor"] == answer.headers["X-Next-Cursor"]
        raise AssertionError("there is no end of it")

    @pytest.mark.parametrize("limit", [1, 4, 22, 23, 24])
    def test_every_row_once_to_the_last(self, app: Application, limit: int) -> None:
        pages = self.pages(app, limit=limit)
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        rows = [row["attributes"]["n"] for page in pages for row in page]
        assert sorted(rows) == list(range(23))
        assert rows[:13] == list(range(22, 9, -1)), "of the ten at one time any order will do"
        assert len(pages) == -(-23 // limit)

    def test_filters_stay(self, app: Application) -> None:
        pages = self.pages(app, limit=2, to=NOW + 12, attributes="{}")
        assert sorted(row["attributes"]["n"] for page in pages for row in page) == list(range(12))

    def test_what_is_pushed_meanwhile_moves_no_page(self, ports: Ports) -> None:
        app = ports.tenant("busy")
        items = [{"name": "a", "attributes": {"n": n}, "time": NOW + n} for n in range(4)]
        app.post("write", "event", items)
        first = app.get("read", "event", {"limit": 2})
        app.post("write", "event", {"name": "a", "attributes": {"n": 9}})
        cursor = first.headers["X-Next-Cursor"]
        rest = app.rows("read", "event", limit=2, cursor=cursor)
        assert [row["d"]["dict"]["n"] for row in rest] == ["1", "0"]


BAD = {
    "nmae=x": "is not a parameter of measures",
    "name=a&name=b": "name is given twice",
    "limit=0": "limit is not a whole number",
    "limit=10001": "limit is not a whole number",
    "from=yesterday": "from is not a time",
    "to=2026-02-30": "to is not a time",
    "from=6&to=5": "from is after to",
    "attributes=%7B": "attributes is not valid JSON",
    "attributes=%22%5Cu0000%22": "attributes is not valid JSON",
    "attributes=%22%5Cud800%22": "attributes is not valid JSON",
    "attributes=1e999999": "attributes is not valid JSON",
    "bucket=fortnight+1": "bucket is not a positive interval",
    "bucket=-1+hour": "bucket is not a positive interval",
    "bucket=0s": "bucket is not a positive interval",
    "bucket=1+month+1+day": "bucket is not a positive interval",
    "bucket=999999999+years": "bucket is not a positive interval",
    "cursor=AAAA": "cursor is none of this list",
    "shape=round": "shape is neither",
    "name=%00": "name is empty or holds",
    "name=%ff": "the query string is not valid UTF-8",
}


class TestRefusals:
    @pytest.mark.parametrize("query", BAD)
    def test_bad_parameters(self, app: Application, query: str) -> None:
        answers = [app.get(port, "measure", query) for port in PORTS]
        assert [answer.status for answer in answers] == [400, 400]
        assert answers[0].text == answers[1].text, "both ports say the same"
        problem = json.loads(answers[0].text)
        assert list(problem) == PROBLEM
        assert problem["code"] == "PGRST100"
        assert BAD[query] in problem["message"]

    def test_keys(self, ports: Ports, app: Application, port: str) -> None:
        url = f"{ports.urls[port]}/api/v1/event"
        bad = send(url, None, bearer(app.key[:-1] + "!"), "GET")
        assert (bad.status, list(json.loads(bad.text))) == (401, PROBLEM)
        assert bad.headers["WWW-Authenticate"].startswith("Bearer")
        writer = blocking(create_key(ports.database, app.tenant, "write"))
        assert send(url, None, bearer(writer), "GET").status == 403
        for headers in ({"X-API-Key": app.key}, {"X-PMETRICS-API-KEY": app.key}):
            assert "deploy" in send(url, None, headers, "GET").text

    def test_no_tenant_sees_another_s(self, ports: Ports, app: Application, port: str) -> None:
        other = Application(
            ports, "default", blocking(create_key(ports.database, "default", "read"))
        )
        for kind in ("measure", "event"):
            assert other.rows(port, kind) == []
            assert json.loads(send(f"{ports.urls[port]}/api/v1/{kind}", None, {}, "GET").text) == []
        assert other.rows(port, "measure", bucket="1d") == []
        cursor = app.get(port, "event", {"limit": 1}).headers["X-Next-Cursor"]
        assert other.rows(port, "event", cursor=cursor) == [], "a cursor grants nothing"

    def test_tokens_read_and_never_write(self, ports: Ports, app: Application) -> None:
        url = f"{ports.urls['read']}/api/v1/event"
        headers = bearer(token(tenant=app.tenant))
        assert "deploy" in send(url, None, headers, "GET").text
        refused = send(url, b'{"name":"x"}', headers)
        assert refused.status == 401
        assert "API key" in refused.text
        assert send(url, None, bearer(token(tenant="nobody")), "GET").status == 403

    def test_bad_keys_hear_the_same_at_both_ports(self, ports: Ports, app: Application) -> None:
        cannot_read = blocking(create_key(ports.database, app.tenant, "write"))
        for key, expected in {
            "pmk_short": (401, "PGRST301"),
            app.key[:-4] + "zzzz": (401, "PGRST301"),
            cannot_read: (403, "42501"),
        }.items():
            url = "{}/api/v1/event"
            answers = [
                send(url.format(each), None, bearer(key), "GET") for each in ports.urls.values()
            ]
            assert answers[0].text == answers[1].text
            for answer in answers:
                assert (answer.status, json.loads(answer.text)["code"]) == expected


class TestLargePages:
    def test_a_page_ends_before_it_fills_the_memory(self, ports: Ports, port: str) -> None:
        app = ports.tenant(f"large {port}")
        text = "x" * 1_000_000
        events = [
            {"name": "e", "attributes": {"n": n, "t": text}, "time": NOW + n} for n in range(20)
        ]
        for start in range(0, 20, 10):
            assert app.post("write", "event", events[start : start + 10]).status == 201
        first = app.get(port, "event", {"limit": 20})
        assert len(first.text) < 18_000_000
        cursor = first.headers["X-Next-Cursor"]
        rest = app.get(port, "event", {"limit": 20, "cursor": cursor})
        assert "X-Next-Cursor" not in rest.headers
        rows = json.loads(first.text) + json.loads(rest.text)
        assert [row["d"]["dict"]["n"] for row in rows] == list(range(19, -1, -1))


class TestHttp:
    def test_head(self, app: Application, ports: Ports, port: str) -> None:
        answer = send(
            f"{ports.urls[port]}/api/v1/event?limit=1", None, bearer(app.key), method="HEAD"
        )
        assert (answer.status, answer.text) == (200, "")
        assert "Link" in answer.headers

    def test_other_methods(self, app: Application, ports: Ports, port: str) -> None:
        url = f"{ports.urls[port]}/api/v1/measure"
        answer = send(url, b"{}", bearer(app.key), method="PUT")
        assert answer.status == 405
        assert {"GET", "HEAD", "POST"} <= {
            name.strip() for name in answer.headers["Allow"].split(",")
        }

    def test_paths_beside_them(self, app: Application, ports: Ports, port: str) -> None:
        for path in ("/api/v1/measure/", "/api/v1/measures", "/api/v1/event.xml", "/api/v1"):
            answer = send(ports.urls[port] + path, None, bearer(app.key), method="GET")
            assert answer.status == 404

    def test_pages_of_any_origin(self, app: Application, ports: Ports) -> None:
        url = f"{ports.urls['read']}/api/v1/event"
        origin = {"Origin": "https://app.example"}
        preflight = {"Access-Control-Request-Method": "GET"}
        assert send(url, None, origin | preflight, "OPTIONS").status == 200
        assert send(url, None, {}, "OPTIONS").headers["Allow"] == "OPTIONS,GET,HEAD,POST"
        answer = app.get("read", "event", **origin)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-Next-Cursor" in answer.headers["Access-Control-Expose-Headers"]

    @pytest.mark.parametrize(
        ("port", "encoding"), [("read", "zstd"), ("read", "gzip"), ("write", "gzip")]
    )
    def test_compressed(self, app: Application, ports: Ports, port: str, encoding: str) -> None:
        plain = app.get(port, "event", "limit=24").text
        assert len(plain) > 1024
        url = f"{ports.urls[port]}/api/v1/event?limit=24"
        raw = _body(url, bearer(app.key) | {"Accept-Encoding": encoding})
        unpacked = (
            gzip.decompress(raw) if encoding == "gzip" else bytes(cramjam.zstd.decompress(raw))
        )
        assert unpacked.decode() == plain

    def test_openapi(self, ports: Ports) -> None:
        document = json.loads(send(ports.urls["read"] + "/", None, {}, "GET").text)
        for kind in ("measure", "event"):
            described = document["paths"][f"/api/v1/{kind}"]
            assert sorted(described) == ["get", "post"]
            names = [each["name"] for each in described["get"]["parameters"]]
            assert ("bucket" in names) == (kind == "measure")
            assert {"name", "from", "to", "attributes", "limit", "cursor", "shape"} <= set(names)
            item = described["post"]["parameters"][0]["schema"]
            assert ("value" in item["required"]) == (kind == "measure")


def _body(url: str, headers: dict[str, str]) -> bytes:
    """The body as it was sent."""
    with urlopen(Request(url, headers=headers)) as answer:
        body: bytes = answer.read()
        assert answer.headers["Content-Encoding"] == headers["Accept-Encoding"]
        return body
