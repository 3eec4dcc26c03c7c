"""Requests of one tenant that try to be another's."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from hypothesis import strategies as st

from tests.acceptance.isolation import NOW_MS, Tenant, World, samples
from tests.acceptance.isolation_asks import ALL, FUNCTIONS
from tests.support.answer import Answer
from tests.support.messages import HEADERS_V2 as REMOTE_WRITE
from tests.support.remote_write import send

OURS, THEIRS = "@ours", "@theirs"
"""In a forgery: stand for a tenant's name; with `#` behind, for its id."""
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


def forged_headers(theirs: Tenant) -> list[dict[str, str]]:
    """What a proxy, another product, or PostgREST would believe."""
    number, name = str(theirs.tenant_id), theirs.name
    return [
        {"X-Scope-OrgID": name, "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
        {"X-Tenant-ID": number, "Tenant": name, "X-Tenant": name},
        {"X-Forwarded-User": name, "Remote-User": name, "X-Remote-User": name},
        {"Prefer": "tx=rollback, count=exact, params=single-object, handling=strict"},
        {"Accept-Profile": "app"},
        {"Accept-Profile": "api", "Content-Profile": "api"},
        {"Cookie": f"tenant={name}; promgres.tenant_id={number}; Authorization=Bearer"},
        {"Proxy-Authorization": f"Bearer {name}", "X-Api-Token": name},
        {"promgres.tenant_id": number, "request.jwt.claims": json.dumps({"tenant": name})},
        {"Range": "0-1000", "Range-Unit": "items", "If-None-Match": "*"},
        {
            "X-Original-URL": "/metrics",
            "X-Rewrite-URL": "/metrics",
            "X-HTTP-Method-Override": "GET",
        },
        {"Origin": f"http://{name}", "Host": name},
    ]


@dataclass(frozen=True)
class Forgery:
    """A request with a good key of ours, and whatever else.

    Attributes:
        place: of the key; `jwt` is a token.
        lies: which of `forged_headers`.
    """

    port: str
    method: str
    path: str
    query: Sequence[tuple[str, str]]
    place: str
    scope: str
    lies: int | None
    content_type: str | None
    body: bytes | None

    def send(self, world: World, named: str | None = None) -> Answer:
        """Send it.

        Args:
            named: in its query, in place of the name of their tenant.
        """
        theirs = named or world.theirs.name
        forged = forged_headers(world.theirs)
        headers: dict[str, str] = {} if self.lies is None else dict(forged[self.lies])
        ours = world.ours
        headers |= ours.jwt() if self.place == "jwt" else ours.credentials(self.place, self.scope)
        if self.content_type:
            headers["Content-Type"] = self.content_type
        body = self.body
        if body == SAMPLES:
            body, headers = samples(ours), headers | REMOTE_WRITE
        text = urlencode([(name, _meant(value, world, theirs)) for name, value in self.query])
        url = world.urls[self.port] + self.path + (f"?{text}" if text else "")
        return send(url, body, headers, self.method)


def _meant(text: str, world: World, theirs: str) -> str:
    for word, tenant, name in ((OURS, world.ours, world.ours.name), (THEIRS, world.theirs, theirs)):
        text = text.replace(f"{word}#", str(tenant.tenant_id)).replace(word, name)
    return text


SAMPLES = b"@samples"

_PARAMETERS = sorted(
    {name for shapes in FUNCTIONS.values() for shape in shapes for name in shape}
    | {"name", "from", "to", "attributes", "limit", "cursor", "shape", "bucket"}
    | {"promgres.tenant_id", "request.jwt.claims", "role", "tenant", "tenant_id", "p_tenant_id"}
    | {"select", "order", "or", "search_path", "", "p_value", "p_limit"}
)
_VALUES = (
    "queue", "up", "login", "web_requests", "rpc_seconds", "common", "mainnet", "cumsum", "geo",
    "1", "2", "3", "-1", "0.5", "1 minute", "1h", "NaN", "infinity", "-infinity", "", "null",
    "{}", '{"whose": "nobody"}', "[]", "flat", "older", THEIRS, f"{THEIRS}#", "'", "%", "\0",
    str(NOW_MS // 1000), "2026-01-01T00:00:00Z", f'{{"tenant": "{THEIRS}"}}', "eq.1", "*",
    "ffffffff-ffff-ffff-ffff-ffffffffffff", "k1", "shared address",
)  # fmt: skip


def _items() -> st.SearchStrategy[object]:
    item = st.fixed_dictionaries(
        {"name": st.sampled_from(["queue", "login", "up", "web_requests", ""])},
        optional={
            "value": st.sampled_from([1, -0.5, 10**30, None, "1"]),
            "attributes": st.sampled_from([{}, {"whose": "ours"}, [], None]),
            "time": st.sampled_from([NOW_MS // 1000, NOW_MS, "2026-01-01T00:00:00Z", 0]),
            "idempotency_key": st.sampled_from(["k1", "k2", "", 5]),
            "tenant": st.just("bravo-ltd"),
            "tenant_id": st.integers(1, 4),
        },
    )
    batch = st.lists(
        st.sampled_from("ME").flatmap(lambda kind: st.fixed_dictionaries({kind: item}))
    )
    return st.one_of(item, st.lists(item, max_size=3), batch)


def _bodies() -> st.SearchStrategy[bytes | None]:
    arguments = st.dictionaries(st.sampled_from(_PARAMETERS), st.sampled_from(_VALUES), max_size=4)
    document = st.one_of(_items(), arguments).map(lambda each: json.dumps(each).encode())
    return st.one_of(st.none(), document, st.just(SAMPLES), st.binary(max_size=20))


def _queries() -> st.SearchStrategy[Sequence[tuple[str, str]]]:
    any_value = st.one_of(st.sampled_from(_VALUES), st.text(max_size=8).filter(_is_utf_8))
    anything = st.lists(st.tuples(st.sampled_from(_PARAMETERS), any_value), max_size=4)
    sensible = st.sampled_from(ALL).map(lambda ask: list(ask.query.items()))
    return st.one_of(anything, sensible)


def _is_utf_8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def forgeries() -> st.SearchStrategy[Forgery]:
    """Any of them."""
    ask = st.sampled_from([*ALL, *ALL])
    return ask.flatmap(
        lambda one: st.builds(
            Forgery,
            port=st.just(one.port),
            method=st.sampled_from(METHODS),
            path=st.sampled_from([one.path, one.path, f"{one.path}/", one.path.upper()]),
            query=st.one_of(st.just(list(one.query.items())), _queries()),
            place=st.sampled_from(["bearer", "basic", "x-api-key", "x-pmetrics-api-key", "jwt"]),
            scope=st.sampled_from(["both", "read", "write", "admin"]),
            lies=st.none() | st.integers(0, 10),
            content_type=st.sampled_from([None, "application/json", "text/plain", "image/png"]),
            body=_bodies(),
        )
    )


def raw_requests(url: str, key: str) -> Iterator[str]:
    """What is answered to a key in places where none belongs, and in what is not HTTP."""
    for lines in (
        [f"X-API-Key : {key}"],
        [f"X-API-Key {key}"],
        [f"X-API-Key: {key}\0"],
        [f"X-API-Key: {key}", "Content-Length: 1", "Content-Length: 2"],
        [f"{key}: x", f"\x01: {key}"],
        [f"Authorization: {key}"],
        [f"Authorization: Digest {key}"],
        [f"Authorization: Bearer {key}{key}"],
        [f"X-API-Key: {key}", f"Authorization: Bearer {key[:-1]}"],
        [f"X-Filler: {key * 1000}"],
    ):
        yield say(url, ["GET /api/v1/event HTTP/1.1", *lines])
    for path in (f"/{key}", f"/rpc/{key}", f"/api/v1/event?{key}=1", f"/api/v1/event?cursor={key}"):
        yield say(url, [f"GET {path} HTTP/1.1", f"X-API-Key: {key}"])
    yield say(url, [f"{key} / HTTP/1.1"])
    yield say(url, [f"GET / {key}"])


def say(url: str, lines: Sequence[str], body: str = "") -> str:
    """Send these lines and a body as they are; all that is answered."""
    parts = urlsplit(url)
    length = [f"Content-Length: {len(body)}"] if body else []
    head = "\r\n".join([*lines, "Host: promgres", "Connection: close", *length, "", body])
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=30) as connection:
        connection.sendall(head.encode("latin-1"))
        said = b""
        while part := connection.recv(65536):
            said += part
    return said.decode("latin-1")


def replaced(answer: Answer, echo: str) -> Answer:
    """An answer without what the request itself had said."""
    return Answer(answer.status, answer.headers, answer.text.replace(echo, "…").encode())
