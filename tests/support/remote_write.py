"""The write side as a sender sees it: post requests, look at the answers."""

from __future__ import annotations

import http.client
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import cramjam

from ingest.wire.pb import remote_write_v1_pb2 as v1
from tests.support.answer import Answer
from tests.support.databases import Database
from tests.support.messages import payload
from tests.support.processes import PROMGRES, Program

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "User-Agent": "promgres-tests",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def snappy(content: bytes) -> bytes:
    """A snappy block."""
    return bytes(cramjam.snappy.compress_raw(content))


def send(
    url: str,
    body: bytes | None,
    headers: Mapping[str, str] = HEADERS,
    method: str = "POST",
    seconds: float = 60,
) -> Answer:
    """Send one request; the answer is read even if the server ends the upload early."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before the body's end
            connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


@dataclass(frozen=True)
class WriteSide:
    """A running `promgres ingest`."""

    program: Program
    address: str

    @property
    def url(self) -> str:
        """Its first endpoint."""
        return f"http://{self.address}/api/v1/write"

    def write(self, *timeseries: v1.TimeSeries) -> Answer:
        """Send these series in one request."""
        return send(self.url, snappy(payload(*timeseries)))


@contextmanager
def write_side(database: Database, **environment: str) -> Iterator[WriteSide]:
    """The real daemon on a port of its own, from start to SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="promgres-write-") as data_dir:
        yield from _write_side(database, {"PROMGRES_DATA_DIR": data_dir, **environment})


def _write_side(database: Database, environment: Mapping[str, str]) -> Iterator[WriteSide]:
    env = {
        **database.environment(),
        "PROMGRES_LISTEN": "127.0.0.1:0",
        "PROMGRES_LOG_FORMAT": "json",
        **environment,
    }
    with Program(PROMGRES, "ingest", env=env) as program:
        address = program.wait_for(r'"address": "([^"]+)".*"event": "listening"').group(1)
        yield WriteSide(program, address)
        assert program.stop() == 0, program.output
