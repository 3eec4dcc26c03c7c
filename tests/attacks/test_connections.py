"""Connections without any key, on machines with few files: nobody else may notice."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.databases import Database
from tests.support.messages import payload, series
from tests.support.processes import PROMGRES, Program, get
from tests.support.remote_write import send, snappy

FILES = 1024
ATTACKERS = 1400
HALF = b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nX-Slow: "
FEW_LINES = 40


@contextmanager
def _side(database: Database, command: str) -> Iterator[tuple[Program, str]]:
    """`promgres ingest` or `api` as a machine with a hard limit of files has it; its URL."""
    env = {
        **database.environment(),
        "PROMGRES_LISTEN": "127.0.0.1:0",
        "PROMGRES_API_LISTEN": "127.0.0.1:0",
        "PROMGRES_LOG_FORMAT": "json",
        "PROMGRES_SPOOL__MAX_BYTES": "0",
    }
    limited = f'ulimit -n {FILES} && exec "$0" "$@"'
    with Program("sh", "-c", limited, PROMGRES, command, env=env) as program:
        address = program.wait_for(r'"address": "([^"]+)".*"event": "listening"').group(1)
        yield program, f"http://{address}"


def _answered(command: str, url: str) -> int:
    """The status of a small request of somebody else."""
    if command == "api":
        return get(f"{url}/rpc/get_excluded_addresses", seconds=60)[0]
    now = int(time.time() * 1000)
    body = snappy(payload(series({"name": "neighbour"}, (now, 1.0))))
    return send(f"{url}/api/v1/write", body).status


@pytest.mark.parametrize(("command", "well"), [("ingest", 204), ("api", 200)])
@pytest.mark.parametrize("sent", [HALF, b""], ids=["half a head", "nothing"])
def test_more_connections_than_files(
    postgres_db: Database, command: str, well: int, sent: bytes
) -> None:
    with _side(postgres_db, command) as (program, url), ExitStack() as held:
        host, _, port = url.removeprefix("http://").partition(":")
        assert _answered(command, url) == well
        for _ in range(ATTACKERS):
            attacker = held.enter_context(socket.create_connection((host, int(port)), timeout=60))
            attacker.setblocking(False)
            try:
                attacker.send(sent)
            except OSError:
                continue  # turned away already
        for _ in range(3):
            assert _answered(command, url) == well
            assert get(f"{url}/-/ready", seconds=60)[0] == 200
            assert get(f"{url}/metrics", seconds=60)[0] == 200
        for path in ("/-/ready", "/no/such/path"):
            assert send(url + path, None, {}, "GET").headers["Server"] == "promgres"
        assert "Traceback" not in program.output
        assert len(program.output.splitlines()) < FEW_LINES, program.output
        assert program.stop() == 0, program.output
