"""`promgres api` as a process, and what its functions answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.support.databases import Database
from tests.support.processes import PROMGRES, Program, get
from tests.support.readapi import SECRET, token
from tests.support.remote_write import send


@dataclass(frozen=True)
class ReadSide:
    """A running `promgres api`."""

    program: Program
    url: str

    def text(self, function: str, **arguments: str) -> str:
        """The body of GET /rpc/function, as it came."""
        query = f"?{urlencode(arguments)}" if arguments else ""
        status, body = get(f"{self.url}/rpc/{function}{query}")
        assert status == 200, body
        return body

    def rows(self, function: str, **arguments: str) -> list[dict[str, Any]]:
        """The rows of a function; numbers are the text that was sent."""
        rows: list[dict[str, Any]] = json.loads(
            self.text(function, **arguments), parse_float=str, parse_int=str
        )
        return rows

    def write(self, function: str, **arguments: str) -> int:
        """POST /rpc/function as role `writer`; the status."""
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {token(role='writer')}",
        }
        body = json.dumps(arguments).encode()
        return send(f"{self.url}/rpc/{function}", body, headers).status


@contextmanager
def read_side(database: Database, **environment: str) -> Iterator[ReadSide]:
    """The real read API on a port of its own, from start to SIGTERM."""
    env = {
        **database.environment(),
        "PROMGRES_API_LISTEN": "127.0.0.1:0",
        "PROMGRES_JWT_SECRET": SECRET,
        "PROMGRES_LOG_FORMAT": "json",
        **environment,
    }
    with Program(PROMGRES, "api", env=env) as program:
        address = program.wait_for(r'"address": "([^"]+)".*"event": "listening"').group(1)
        yield ReadSide(program, f"http://{address}")
        assert program.stop() == 0, program.output
