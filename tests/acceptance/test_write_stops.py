"""The end of a write side: quick, and what had begun is answered."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.databases import Database, blocking, connect
from tests.support.messages import payload, series
from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, Program, free_port, get, wait_until
from tests.support.remote_write import HEADERS, snappy


@contextmanager
def write_side(
    database: Database, data_dir: Path, **environment: str
) -> Iterator[tuple[Program, str]]:
    address = f"127.0.0.1:{free_port()}"
    env = {
        **database.environment(),
        "PROMGRES_DATA_DIR": str(data_dir),
        "PROMGRES_LISTEN": address,
        **environment,
    }
    with Program(PROMGRES, "ingest", env=env) as program:
        wait_until(lambda: get(f"http://{address}/-/ready")[0] == 200, 60, program.output)
        yield program, address


class HalfARequest:
    """A request of one sample, of which the last bytes are held back."""

    def __init__(self, address: str, name: str) -> None:
        sample = series({"name": name}, (int(time.time() * 1000), 7.0))
        body = snappy(payload(sample))
        host, port = address.split(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.settimeout(60)
        lines = [f"{key}: {value}" for key, value in HEADERS.items()]
        head = ["POST /api/v1/write HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}"]
        text = "\r\n".join([*head, *lines, "", ""])
        self._socket.sendall(text.encode() + body[:-5])
        self._rest = body[-5:]

    def go_on(self) -> None:
        """Send what is missing."""
        self._socket.sendall(self._rest)

    def status(self) -> int:
        """The answer's."""
        answer = http.client.HTTPResponse(self._socket)
        answer.begin()
        answer.read()
        assert answer.status != 503 or answer.getheader("Retry-After")
        self._socket.close()
        return answer.status


async def count(database: Database, name: str) -> int:
    """Samples of a metric."""
    async with connect(database) as connection:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM internal.sample JOIN internal.series USING (series_id)"
            " WHERE name = $1",
            name,
        )
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_body_that_arrives_while_it_ends_is_stored(
    postgres_db: Database, open_path: Path, number: signal.Signals
) -> None:
    """It was thrown away, and answered 503 after 25 s."""
    with write_side(postgres_db, open_path) as (program, address):
        request = HalfARequest(address, "late")
        wait_until(lambda: _requests_under_way(address), what="the head is read")
        program.send(number)
        wait_until(lambda: get(f"http://{address}/-/healthy")[0] == 0, what="it listens no more")
        request.go_on()
        assert request.status() == 204
        assert program.wait() == 0
    assert blocking(count(postgres_db, "late")) == 1


def test_a_body_that_does_not_arrive_is_not_waited_for(
    postgres_db: Database, open_path: Path
) -> None:
    with write_side(postgres_db, open_path) as (program, address):
        request = HalfARequest(address, "never")
        wait_until(lambda: _requests_under_way(address), what="the head is read")
        program.send(signal.SIGTERM)
        assert request.status() == 503
        assert program.wait(15) == 0
    assert blocking(count(postgres_db, "never")) == 0


def test_what_the_database_does_not_confirm_is_spooled_before_the_end(
    postgres_db: Database, open_path: Path
) -> None:
    """Though `spool.after` is far away; the next one writes it back."""
    with write_side(postgres_db, open_path, PROMGRES_SPOOL__AFTER="20") as (program, address):
        blocking(_hold_while(postgres_db, program, address))
    with write_side(postgres_db, open_path):
        wait_until(lambda: blocking(count(postgres_db, "held")) == 1, 60, "it is written back")


def test_an_orphan_answers_and_ends(postgres_db: Database, open_path: Path) -> None:
    """The parent is gone: the next one waits for us."""
    pipe = open_path / "lifeline"
    os.mkfifo(pipe)
    address = f"127.0.0.1:{free_port()}"
    script = f'exec 7<>"{pipe}" 8<"{pipe}"; exec 7>&-; exec "{PROMGRES}" ingest'
    env = {
        **postgres_db.environment(),
        "PROMGRES_DATA_DIR": str(open_path / "data"),
        "PROMGRES_LISTEN": address,
        "PROMGRES_LIFELINE_FD": "8",
    }
    keeper = os.open(pipe, os.O_RDWR)
    writer = os.open(pipe, os.O_WRONLY)
    os.close(keeper)
    with Program("bash", "-c", script, env=env) as program:
        wait_until(lambda: get(f"http://{address}/-/ready")[0] == 200, 60, program.output)
        request = HalfARequest(address, "orphan")
        wait_until(lambda: _requests_under_way(address), what="the head is read")
        os.close(writer)
        request.go_on()
        assert request.status() in (204, 503)
        assert program.wait(15) == 0


async def _hold_while(database: Database, program: Program, address: str) -> None:
    """End it while somebody holds the table that it writes to."""
    async with connect(database) as connection, connection.transaction():
        await connection.execute("LOCK TABLE internal.sample, staging_internal.sample")
        request = HalfARequest(address, "held")
        request.go_on()
        wait_until(lambda: _in_flight(address), what="the sample is in flight")
        program.send(signal.SIGTERM)
        assert request.status() == 204
        assert program.wait(30) == 0


def _in_flight(address: str) -> bool:
    return Metrics(address).in_flight == 1


def _requests_under_way(address: str) -> bool:
    """Whether a connection has been taken in besides the one that asks."""
    return Metrics(address).value("promgres_http_connections") >= 2
