"""Readers with a key that ask for a lot, or never take what they asked for. Beside them somebody
reads a little, and must not notice; nor must the write side."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import pytest

from ingest.descriptors import raise_descriptor_limit
from tests.attacks.siege import MOST_BYTES, Siege, at_once, forget_peak, peak_bytes
from tests.support.databases import blocking, connect
from tests.support.keys import bearer
from tests.support.processes import wait_until
from tests.support.remote_write import send

READS = frozenset({200, *range(400, 500), 500, 503, 504})
FUNCTIONS = (
    "CREATE FUNCTION api.burn(p_count int8) RETURNS int8 LANGUAGE sql STABLE"
    " AS $$ SELECT count(*) FROM generate_series(1, p_count) AS i WHERE sqrt(i) > 1 $$",
    "CREATE FUNCTION api.much(p_count int) RETURNS SETOF text LANGUAGE sql STABLE"
    " AS $$ SELECT repeat('x', 1000) FROM generate_series(1, p_count) $$",
)
ENDLESS = "burn?p_count=100000000000"
BUSY = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE 'promgres api%' AND state = 'active' AND query LIKE '%"burn"%'"""
SECONDS = 120
SLOW_CLIENTS, SLOW_BYTES = 1_000, 100 * 1024 * 1024


@pytest.fixture(scope="module")
def reading(siege: Siege) -> Siege:
    """The siege, with two functions of its own."""
    blocking(_sql(siege, *FUNCTIONS))
    wait_until(lambda: _get(siege, "much?p_count=1") == 200, what="the function is known")
    return siege


async def _sql(siege: Siege, *statements: str) -> int:
    async with connect(siege.database) as connection:
        for statement in statements[:-1]:
            await connection.execute(statement)
        value: int = await connection.fetchval(statements[-1])
        return value


def _get(siege: Siege, path: str, key: str | None = None) -> int:
    """The status of a question, its answer read; 500 and 504 only with the codes they may have."""
    parts = urlsplit(siege.read_url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    try:
        connection.request("GET", parts.path + path, headers=bearer(key or siege.attacker))
        response = connection.getresponse()
        body = response.read()
        if response.status in (500, 504):
            assert json.loads(body)["code"] in ("57014", "PGRST003"), body
        return response.status
    finally:
        connection.close()


def _little(siege: Siege) -> int:
    """A small question of the neighbour."""
    return _get(siege, "get_excluded_addresses", siege.neighbour)


@contextmanager
def _asked(siege: Siege, path: str, times: int) -> Iterator[list[socket.socket]]:
    """Questions whose answers nobody reads; each socket holds as little as it can."""
    parts = urlsplit(siege.read_url)
    head = f"GET {parts.path}{path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {siege.attacker}\r\n\r\n"
    with ExitStack() as held:
        sockets = []
        for _ in range(times):
            one = held.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect((parts.hostname, parts.port))
            one.sendall(head.encode())
            sockets.append(one)
        yield sockets


def _begun(asked: socket.socket) -> int:
    """The status of an answer, of which no more is read."""
    asked.settimeout(SECONDS)
    return int(asked.recv(12).split()[1])


def _meanwhile(siege: Siege, times: int = 3) -> list[int]:
    """The neighbour's small questions: all of them are answered."""
    answers = [_little(siege) for _ in range(times)]
    assert set(answers) == {200}
    return answers


def test_questions_that_nobody_waits_for(reading: Siege) -> None:
    def attack() -> list[int]:
        with _asked(reading, ENDLESS, 40):
            return _meanwhile(reading)

    reading.resist(attack, READS)
    wait_until(lambda: blocking(_sql(reading, BUSY)) == 0, SECONDS, "their backends have stopped")


def test_questions_that_take_all_of_their_time(reading: Siege) -> None:
    def attack() -> list[int]:
        heard = at_once(partial(_get, reading, ENDLESS), 20)
        return [*heard, *_meanwhile(reading)]

    report = reading.resist(attack, READS)
    assert report.statuses[500] + report.statuses[504] + report.statuses[503] > 0


def test_a_small_question_beside_them(reading: Siege) -> None:
    with _asked(reading, ENDLESS, 30):
        wait_until(lambda: blocking(_sql(reading, BUSY)) > 0, SECONDS, "one of them runs")
        assert {_little(reading) for _ in range(20)} == {200}


@pytest.mark.parametrize("rows", [3_000, 100_000], ids=["3 MB", "100 MB"])
def test_answers_that_nobody_reads(reading: Siege, rows: int) -> None:
    def attack() -> list[int]:
        with _asked(reading, f"much?p_count={rows}", 40) as sockets:
            return [*_meanwhile(reading), *map(_begun, sockets)]

    assert reading.resist(attack, READS).statuses[200] > 3


def test_what_the_page_asks_again_and_again(reading: Siege) -> None:
    """Status asks database and write side; lists and queries are of everything there is."""
    root = reading.read_url.removesuffix("/rpc/")
    asked = (
        "/ui/status", "/ui", "/rpc/list_metrics", "/rpc/cardinality",
        "/api/v1/label/__name__/values", "/api/v1/parse_query?query=sum(up)",
        "/api/v1/query_range?query=sum(%7B__name__%3D~%22.%2B%22%7D)&start=0&end=60&step=1",
        "/api/v1/event?shape=flat&limit=500",
    )  # fmt: skip

    def attack() -> list[int]:
        headers = bearer(reading.attacker)
        heard = [
            status
            for path in asked
            for status in at_once(
                lambda path=path: send(root + path, None, headers, "GET").status, 12
            )
        ]
        return [*heard, *_meanwhile(reading)]

    assert reading.resist(attack, READS).statuses[200] > 0


def test_answers_of_1_gb(reading: Siege) -> None:
    """They are more than is given: 400, or the time is over first."""
    heard = reading.resist(
        lambda: at_once(partial(_get, reading, "much?p_count=1000000"), 2), READS
    )
    assert set(heard.statuses) <= {400, 500, 503, 504}


def test_long_answers_that_are_read(reading: Siege) -> None:
    reader = reading.child("api")
    forget_peak(reader.pid)
    assert set(at_once(partial(_get, reading, "much?p_count=100000"), 4)) <= {200, 504}
    assert peak_bytes(reader.pid) < MOST_BYTES


@pytest.mark.parametrize("sent", ["2\r\n[{\r\n", ""], ids=["a byte", "nothing"])
def test_bodies_that_are_announced_and_never_come(reading: Siege, sent: str) -> None:
    """On the read port, which hands them on: what is announced takes no room."""
    parts = urlsplit(reading.read_url)
    url = f"http://{parts.netloc}/api/v1/event"
    event = json.dumps([{"name": "small"}]).encode()
    headers = {**bearer(reading.neighbour), "Content-Type": "application/json"}

    def attack() -> list[int]:
        head = (
            f"POST /api/v1/event HTTP/1.1\r\nHost: x\r\nX-API-Key: {reading.attacker}\r\n"
            f"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{sent}"
        )
        with ExitStack() as held:
            for _ in range(20):
                one = held.enter_context(
                    socket.create_connection((parts.hostname, parts.port), timeout=SECONDS)
                )
                one.sendall(head.encode())
            answers = [send(url, event, headers).status for _ in range(3)]
            assert set(answers) == {201}, answers
            return answers

    reading.resist(attack)


def test_a_thousand_clients_that_send_a_byte_at_a_time(reading: Siege) -> None:
    """Of a head, or of a body: none of it takes a connection of the database, a turn, or more room
    than what has come."""
    raise_descriptor_limit()
    reader = reading.child("api")
    before_bytes = reader.memory_info().rss
    parts = urlsplit(reading.read_url)
    whose = f"Host: x\r\nX-API-Key: {reading.attacker}\r\nContent-Type: application/json\r\n"
    whole = f"{whose}Content-Length: 1000000\r\n\r\n"
    heads = [
        f"GET /rpc/get_excluded_addresses HTTP/1.1\r\n{whose}X-Slow: ",
        f"POST /rpc/get_measures HTTP/1.1\r\n{whole}",
        f"POST /api/v1/query HTTP/1.1\r\n{whole.replace('json', 'x-www-form-urlencoded')}",
        f"POST /api/v1/event HTTP/1.1\r\n{whole}",
    ]

    def attack() -> list[int]:
        heard = []
        with ExitStack() as held:
            sockets = []
            for number in range(SLOW_CLIENTS):
                where = (parts.hostname, parts.port)
                one = held.enter_context(socket.create_connection(where, timeout=SECONDS))
                one.sendall(heads[number % len(heads)].encode())
                one.setblocking(False)
                sockets.append(one)
            for _ in range(5):
                for one in sockets:
                    with suppress(OSError):  # its time was over, and it was told so
                        one.send(b"[")
                heard += _meanwhile(reading)
            for one in sockets:
                with suppress(OSError):
                    heard += [int(line.split()[1]) for line in [one.recv(100)] if line]
        return heard

    report = reading.resist(attack, READS)
    assert report.statuses[200] >= 15
    assert peak_bytes(reader.pid) < before_bytes + SLOW_BYTES, report
    assert set(_meanwhile(reading)) == {200}


@pytest.mark.parametrize("port", ["write", "read"])
def test_half_heads_on_a_stack_with_default_settings(reading: Siege, port: str) -> None:
    address = reading.address if port == "write" else urlsplit(reading.read_url).netloc
    host, _, number = address.rpartition(":")

    def attack() -> list[int]:
        with ExitStack() as held:
            for _ in range(1400):
                one = held.enter_context(socket.create_connection((host, int(number)), SECONDS))
                with suppress(OSError):
                    one.send(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            return _meanwhile(reading)

    reading.resist(attack, READS)
