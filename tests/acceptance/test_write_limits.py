"""Limits of the write side: each with its setting, a metric and a precise answer."""

from __future__ import annotations

import socket
import time

import pytest

from tests.support.databases import Database, blocking, connect
from tests.support.messages import payload, series
from tests.support.metrics import Metrics
from tests.support.processes import wait_until
from tests.support.remote_write import HEADERS, send, snappy, write_side

UP = {"name": "up", "job": "node"}


@pytest.fixture
def now_ms() -> int:
    return time.time_ns() // 1_000_000


def refusals(address: str, limit: str) -> float:
    return Metrics(address).value("promgres_limit_refusals_total", limit=limit)


async def stored(database: Database) -> int:
    async with connect(database) as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM internal.sample")
    return count


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("LABELS_PER_SERIES", "2", "3 labels, more than the 2"),
        ("LABEL_NAME_BYTES", "10", "label 'rather_long' has 11 bytes"),
        ("LABEL_VALUE_BYTES", "9", "the value of label 'rather_long' has 10 bytes"),
    ],
)
def test_a_series_is_too_large_and_the_rest_is_stored(
    postgres_db: Database, now_ms: int, setting: str, value: str, reason: str
) -> None:
    with write_side(postgres_db, **{f"PROMGRES_LIMITS__{setting}": value}) as side:
        answer = side.write(
            series({"name": "up", "job": "node", "rather_long": "v" * 10}, (now_ms, 1.0)),
            series(UP, (now_ms, 1.0)),
        )
        assert answer.status == 400
        assert reason in answer.text
        assert f"limits.{setting.lower()}" in answer.text
        assert blocking(stored(postgres_db)) == 1
        assert refusals(side.address, setting.lower()) == 1
        Metrics(side.address).assert_balanced()


@pytest.mark.parametrize("setting", ["SERIES_PER_REQUEST", "SAMPLES_PER_REQUEST"])
def test_a_request_is_too_large(postgres_db: Database, now_ms: int, setting: str) -> None:
    with write_side(postgres_db, **{f"PROMGRES_LIMITS__{setting}": "2"}) as side:
        three = [series({"name": "up", "job": str(number)}, (now_ms, 1.0)) for number in range(3)]
        answer = side.write(*three)
        assert answer.status == 400
        assert "3 s" in answer.text
        assert f"limits.{setting.lower()}" in answer.text
        assert side.write(*three[:2]).status == 204
        assert blocking(stored(postgres_db)) == 2
        assert refusals(side.address, setting.lower()) == 1


def test_new_series_are_limited_and_known_ones_are_not(postgres_db: Database, now_ms: int) -> None:
    """A restart does not make known series new."""
    limits = {"PROMGRES_LIMITS__NEW_SERIES_PER_HOUR": "3"}
    two = [series({"name": "up", "job": str(number)}, (now_ms, 1.0)) for number in range(2)]
    with write_side(postgres_db, **limits) as side:
        assert side.write(*two).status == 204
    five = [series({"name": "up", "job": str(number)}, (now_ms + 1, 1.0)) for number in range(6)]
    with write_side(postgres_db, **limits) as side:
        answer = side.write(*five)
        assert answer.status == 400
        assert "1 of 6 samples refused" in answer.text
        assert "a new series, of which 3 an hour may be created" in answer.text
        assert side.write(*two).status == 204
        assert blocking(stored(postgres_db)) == 7
        assert refusals(side.address, "new_series_per_hour") == 1
        Metrics(side.address).assert_balanced()


def test_requests_at_once_are_limited(postgres_db: Database, now_ms: int) -> None:
    limits = {"PROMGRES_LIMITS__CONCURRENT_REQUESTS": "1"}
    body = snappy(payload(series(UP, (now_ms, 1.0))))
    with write_side(postgres_db, **limits) as side:
        host, port = side.address.split(":")
        head = "\r\n".join(
            ["POST /write HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
            + [f"{name}: {value}" for name, value in HEADERS.items()]
        )
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(head.encode() + b"\r\n\r\n" + body[:3])
            wait_until(
                lambda: send(side.url, body).status == 503, what="a second request is refused"
            )
            answer = send(side.url, body)
            assert (answer.status, "Retry-After" in answer.headers) == (503, True)
            assert "limits.concurrent_requests" in answer.text
            slow.sendall(body[3:])
            assert slow.recv(100).startswith(b"HTTP/1.1 204")
        wait_until(lambda: send(side.url, body).status == 204, what="there is room again")
        assert refusals(side.address, "concurrent_requests") >= 2
