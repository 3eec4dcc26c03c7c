"""The older API as its clients know it: curl of every route, body and error, on both ports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support.databases import Database
from tests.support.record_ports import PORTS, Application, Ports, both_ports

KEY_FAILURE = '"api key failure"'
MEASURE = '{"name": "temp", "measurement": 98.6, "dict": {"a": 1, "b": "two"}}'
EVENT = '{"name": "door", "dict": {"open": true}}'


class Said(NamedTuple):
    """What curl heard."""

    status: int
    body: str


class Curl:
    """An older client: one URL, one key."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def __call__(self, path: str, *arguments: str, key: str | None = None) -> Said:
        """Call curl as the older client's scripts do."""
        program = shutil.which("curl")
        assert program, "curl is part of every machine that these clients run on"
        header = f"X-PMETRICS-API-KEY: {self.key if key is None else key}"
        done = subprocess.run(
            [program, "-s", "-w", "\n%{http_code}", "-H", header, self.url + path, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        body, _, status = done.stdout.rpartition("\n")
        return Said(int(status), body)


@pytest.fixture(scope="module")
def ports(shared_postgres_db: Database) -> Iterator[Ports]:
    with both_ports(shared_postgres_db, PROMGRES_AUTH__REQUIRED="true") as running:
        yield running


@pytest.fixture(params=PORTS)
def curl(request: pytest.FixtureRequest, ports: Ports) -> Curl:
    """A client on a tenant of its own."""
    name = re.sub(r"\W+", "-", request.node.name)
    app: Application = ports.tenant(name)
    return Curl(ports.urls[request.param], app.key)


def test_health(curl: Curl) -> None:
    assert curl("/healthz") == (200, "ok")
    assert curl("/healthz", key="") == (200, "ok")


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_a_measure_and_back(curl: Curl, suffix: str) -> None:
    path = f"/api/v1/measure{suffix}"
    assert curl(path) == (200, "[]")
    assert curl(path, "-d", MEASURE) == (200, "ok")
    (row,) = json.loads(curl(path).body)
    assert row["d"] == json.loads(MEASURE)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", row["insertion_time"])


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_an_event_and_back(curl: Curl, suffix: str) -> None:
    path = f"/api/v1/event{suffix}"
    assert curl(path, "-X", "POST", "-d", EVENT, "-H", "Content-Type: application/json") == (
        200,
        "ok",
    )
    (row,) = json.loads(curl(path).body)
    assert list(row["d"]) == ["name", "dict"]
    assert row["d"] == json.loads(EVENT)


def test_any_json_is_a_dict_and_unknown_keys_are_ignored(curl: Curl) -> None:
    for value in ("null", "[]", "[1, 2]", '"text"', "5", "{}"):
        body = f'{{"name": "n", "dict": {value}, "extra": {{"x": 1}}}}'
        assert curl("/api/v1/event", "-d", body) == (200, "ok"), value
    found = [row["d"]["dict"] for row in json.loads(curl("/api/v1/event").body)]
    assert sorted(map(str, found)) == sorted(map(str, [None, [], [1, 2], "text", 5, {}]))


def test_the_newest_hundred(curl: Curl) -> None:
    events = [{"E": {"name": "n", "dict": {"i": i}}} for i in range(101)]
    assert curl("/api/v1/event", "-d", json.dumps(events)) == (200, "ok")
    assert len(json.loads(curl("/api/v1/event").body)) == 100


@pytest.mark.parametrize("kind", ["measure", "event"])
def test_bad_bodies(curl: Curl, kind: str) -> None:
    bodies = ["{", "", "[]{", '{"dict": {}}', '{"name": 5, "dict": {}}']
    if kind == "measure":
        bodies += [EVENT, '{"name": "x", "measurement": "1", "dict": {}}']
    for body in bodies:
        said = curl(f"/api/v1/{kind}", "-d", body)
        assert said.status == 400, body
        assert said.body.strip(), "a reason"
        assert not said.body.startswith("{"), "a line of text"
    assert json.loads(curl(f"/api/v1/{kind}").body) == []


@pytest.mark.parametrize("kind", ["measure", "event"])
def test_bad_keys(curl: Curl, kind: str) -> None:
    """403 and one body, whatever is wrong with the key; also in these two forms."""
    for key in ("a-wiWimWyilf", "pmk_abcdefghijkl_" + "x" * 43, "ü", "a.b.c"):
        for arguments in ([], ["-d", MEASURE], ["-d", "{"]):
            assert curl(f"/api/v1/{kind}", *arguments, key=key) == (403, KEY_FAILURE)


def test_queries_of_today_are_refused_in_a_line(curl: Curl) -> None:
    said = curl("/api/v1/event?limit=ten")
    assert (said.status, said.body.strip()) == (400, "limit is not a whole number from 1 to 10000")


def test_what_is_not_there(curl: Curl) -> None:
    assert curl("/api/v1/nothing").status == 404
    assert curl("/api/v1/measure", "-X", "DELETE").status == 405
