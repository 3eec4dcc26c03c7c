"""Both ports of measures and events on one database, and applications of two tenants."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.support.answer import Answer
from tests.support.databases import Database, blocking
from tests.support.keys import bearer, create_key, create_tenant
from tests.support.read_side import read_side
from tests.support.remote_write import send, write_side

PORTS = ("read", "write")


@dataclass(frozen=True)
class Ports:
    """A write side and a read side that knows it.

    Attributes:
        urls: by port, `read` and `write`.
    """

    database: Database
    urls: Mapping[str, str]

    def tenant(self, name: str) -> Application:
        """An application of a new tenant."""
        blocking(create_tenant(self.database, name))
        return Application(self, name, blocking(create_key(self.database, name)))


@dataclass(frozen=True)
class Application:
    """Somebody who has a key of a tenant."""

    ports: Ports
    tenant: str
    key: str

    def post(self, port: str, kind: str, body: object, **headers: str) -> Answer:
        """Push; what is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return send(
            f"{self.ports.urls[port]}/api/v1/{kind}", data, bearer(self.key) | _named(headers)
        )

    def get(
        self, port: str, kind: str, query: Mapping[str, object] | str = "", **headers: str
    ) -> Answer:
        """Read; the query as parameters, or as it is written."""
        text = query if isinstance(query, str) else urlencode(query)
        url = f"{self.ports.urls[port]}/api/v1/{kind}" + (f"?{text}" if text else "")
        return send(url, None, bearer(self.key) | _named(headers), "GET")

    def rows(self, port: str, kind: str, **query: object) -> Any:
        """What is answered 200; numbers are the text that was sent."""
        answer = self.get(port, kind, {name.strip("_"): value for name, value in query.items()})
        assert answer.status == 200, answer.text
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        return json.loads(answer.text, parse_float=str, parse_int=str)


@contextmanager
def both_ports(database: Database, **environment: str) -> Iterator[Ports]:
    """Start both sides, end them."""
    with write_side(database, **environment) as writing:
        url = f"http://{writing.address}"
        with read_side(database, PROMGRES_API__WRITE_URL=url, **environment) as reading:
            yield Ports(database, {"read": reading.url, "write": url})


def squeezed(body: object) -> bytes:
    """JSON, compressed with gzip."""
    return gzip.compress(json.dumps(body).encode())


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    """`content_type` is how Python spells `Content-Type`."""
    return {name.replace("_", "-").title(): value for name, value in headers.items()}
