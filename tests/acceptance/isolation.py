"""Three tenants that hold the same names, each with contents that tell whose they are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from ingest.wire.encoding.snappy import decompress_snappy
from ingest.wire.pb import remote_write_v2_pb2 as v2
from tests.acceptance.cases_histograms import spans
from tests.support.answer import Answer
from tests.support.databases import Database, blocking, connect
from tests.support.keys import basic, bearer, create_key, create_tenant
from tests.support.messages import HEADERS_V2 as REMOTE_WRITE
from tests.support.messages import (
    Pairs,
    Sent,
    SentExemplar,
    SentMetadata,
    Symbols,
    request,
    series_v2,
)
from tests.support.processes import Program
from tests.support.read_side import read_side
from tests.support.readapi import token
from tests.support.remote_write import send, snappy, write_side

NOW_MS = (time.time_ns() // 60_000_000_000 - 2) * 60_000
"""The beginning of a minute, two or three minutes ago."""
EARLIER_MS = NOW_MS - 3_600_000
MAINNET = ("manifest_tier", "mainnet")
TESTNET = ("manifest_tier", "testnet")
PLACES = ("bearer", "basic", "x-api-key", "x-pmetrics-api-key")


@dataclass(frozen=True)
class Tenant:
    """One of them.

    Attributes:
        mark: a word that is in all of its texts, and nowhere else.
        digits: a number that is in its values, and nowhere else.
        keys: by scope; `both` reads and writes.
    """

    name: str
    mark: str
    digits: str
    tenant_id: int
    keys: Mapping[str, str]

    @property
    def needles(self) -> list[str]:
        """Whoever sees one of these has seen something of this tenant."""
        ids = [key.split("_")[1] for key in self.keys.values()]
        name = [] if self.name == "default" else [self.name]
        return [self.mark, self.digits, *ids, *name]

    def credentials(self, place: str, scope: str = "both") -> dict[str, str]:
        """The headers of a request with a key of it in that place."""
        key = self.keys[scope]
        if place == "bearer":
            return bearer(key)
        if place == "basic":
            return {"Authorization": f"Basic {basic(self.name, key)}"}
        return {place: key}

    def jwt(self, role: str = "web_anon") -> dict[str, str]:
        """The headers of a request with a token of it."""
        return bearer(token(tenant=self.name, role=role))


@dataclass(frozen=True)
class Ask:
    """A request that reads; no credentials are in it."""

    port: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    @property
    def target(self) -> str:
        """Path and query."""
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")

    def __str__(self) -> str:
        return f"{self.port} {self.target} {dict(self.headers)} {self.body!r}"


@dataclass(frozen=True)
class World:
    """Both ports on one database, keys required, and the tenants."""

    database: Database
    programs: Mapping[str, Program]
    urls: Mapping[str, str]
    ours: Tenant
    theirs: Tenant
    default: Tenant

    @property
    def needles(self) -> list[str]:
        """What our tenant must never see."""
        return [*self.theirs.needles, *self.default.needles]

    def ask(self, ask: Ask, credentials: Mapping[str, str], method: str = "") -> Answer:
        """Send it."""
        method = method or ("GET" if ask.body is None else "POST")
        headers = {**ask.headers, **credentials}
        answer = send(self.urls[ask.port] + ask.target, ask.body, headers, method)
        if answer.headers.get("Content-Encoding") != "snappy" or not answer.body:
            return answer
        return replace(answer, body=repr(decompress_snappy(answer.body, 10**8)).encode())

    def post(self, port: str, path: str, document: object, who: Mapping[str, str]) -> Answer:
        """Send JSON."""
        headers = {"Content-Type": "application/json", **who}
        return send(self.urls[port] + path, json.dumps(document).encode(), headers)

    def leaks(self, answer: Answer) -> list[str]:
        """What of others is in an answer."""
        return self.named_in(f"{answer.status} {answer.headers} {answer.text}")

    def named_in(self, said: str) -> list[str]:
        """What of others is in a text, in whatever case."""
        lowered = said.lower()
        return [needle for needle in self.needles if needle.lower() in lowered]

    def readings(self, tenant: Tenant, asks: Iterable[Ask]) -> dict[str, tuple[object, ...]]:
        """What a tenant is answered; the same again while nothing of it changes."""
        who = tenant.credentials("bearer")
        return {str(ask): _essence(self.ask(ask, who)) for ask in asks}


def _essence(answer: Answer) -> tuple[object, ...]:
    headers = {name: value for name, value in answer.headers.items() if name != "Date"}
    return answer.status, answer.text, tuple(sorted(headers.items()))


@contextmanager
def running_world(database: Database) -> Iterator[World]:
    """Start both sides and make the tenants; they have nothing yet."""
    strict = {"PROMGRES_AUTH__REQUIRED": "true", "PROMGRES_LOG_LEVEL": "debug"}
    with write_side(database, **strict) as writing:
        url = f"http://{writing.address}"
        with read_side(database, PROMGRES_API__WRITE_URL=url, **strict) as reading:
            yield World(
                database,
                {"read": reading.program, "write": writing.program},
                {"read": reading.url, "write": url},
                _tenant(database, "alpha-inc", "Alphissimo", "4141414141"),
                _tenant(database, "bravo-ltd", "Bravissimo", "7272727272"),
                _tenant(database, "default", "Deltissimo", "9393939393"),
            )


def _tenant(database: Database, name: str, mark: str, digits: str) -> Tenant:
    tenant_id = 1 if name == "default" else blocking(create_tenant(database, name))
    scopes = {"both": ("read", "write"), "read": ("read",), "write": ("write",)}
    scopes["admin"] = ("admin",)
    keys = {
        scope: blocking(create_key(database, name, *granted)) for scope, granted in scopes.items()
    }
    return Tenant(name, mark, digits, tenant_id, keys)


def fill(world: World, tenant: Tenant, asks_for: Iterable[str] = ("samples", "pushes")) -> None:
    """Send something of every kind, under the names, times and idempotency keys that all use."""
    who = tenant.credentials("bearer")
    if "samples" in asks_for:
        answer = send(world.urls["write"] + "/api/v1/write", samples(tenant), REMOTE_WRITE | who)
        assert (answer.status, answer.text) == (204, ""), answer
    for path, items in pushes(tenant).items():
        answer = world.post("write", path, items, who)
        assert (answer.status, answer.text) == (201, f'{{"stored":{len(items)}}}'), answer
    blocking(_add_addresses(world.database, tenant))


async def _add_addresses(database: Database, tenant: Tenant) -> None:
    async with connect(database) as connection:
        await connection.execute(
            "INSERT INTO internal.excluded_addresses (tenant_id, value)"
            " SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING",
            tenant.tenant_id,
            ["shared address", f"address of {tenant.mark}"],
        )


def pushes(tenant: Tenant) -> dict[str, list[dict[str, object]]]:
    """Measures and events by path; some have a key, with or without a time."""
    whose = {"whose": tenant.mark}
    seconds = NOW_MS // 1000
    value = float(f"{tenant.digits}.25")
    return {
        "/api/v1/measure": [
            {"name": "queue", "value": value, "attributes": whose, "time": seconds},
            {"name": "queue", "value": value, "attributes": whose, "time": seconds - 60},
            {"name": "queue", "value": value, "attributes": whose, "idempotency_key": "k1"},
            {"name": "up", "value": value, "attributes": whose, "time": seconds,
             "idempotency_key": "k2"},
            {"name": "web_requests", "value": 0.25, "attributes": whose, "time": seconds},
            {"name": f"only_{tenant.mark}", "value": 1, "time": seconds},
        ],
        "/api/v1/event": [
            {"name": "login", "attributes": whose, "time": seconds},
            {"name": "login", "attributes": whose, "time": seconds, "idempotency_key": "k1"},
            {"name": "login", "attributes": whose, "idempotency_key": "k2"},
        ],
    }  # fmt: skip


def samples(tenant: Tenant) -> bytes:
    """A request of remote write 2.0 with samples of every target, exact ones, exemplars, native
    histograms, metadata and start timestamps."""
    value = float(f"{tenant.digits}.5")
    whole = tenant.digits
    sent = [
        _series(value, "up", ("whose", tenant.mark)),
        _series(value, "up"),  # one and the same series, but for the tenant
        _series(value, "web_requests", ("whose", tenant.mark)),
        *(_series(1.0, f"only_{tenant.mark}", *tier) for tier in ((), (MAINNET,), (TESTNET,))),
        _series(value, "total_mfx_burned", MAINNET),
        _series(value, "total_mfx_burned", TESTNET),
        _series(value, "talib_mfx_power_conversion"),
        _series(1.0, "manifest_tokenomics_total_supply", MAINNET, ("supply", whole * 3)),
        _series(1.0, "manifest_tokenomics_excluded_supply", MAINNET, ("excluded_supply", whole)),
        _series(1.0, "locked_tokens", MAINNET, ("amount", whole)),
        _series(1.0, "locked_fees", MAINNET, ("amount", whole)),
        *(_series(value, f"manifest_geo_{name}", *_place(tenant)) for name in GEO),
    ]
    return snappy(_message([*sent, _histograms(tenant)]))


GEO = ("latitude", "longitude", "metadata")


def _place(tenant: Tenant) -> Pairs:
    return (("instance", "i"), ("country_name", tenant.mark), ("city", tenant.mark))


def _series(value: float, name: str, *labels: tuple[str, str]) -> Sent:
    pairs = tuple(sorted([("__name__", name), *labels]))
    return Sent(pairs, [(EARLIER_MS, 0.0), (NOW_MS, value)])


def _histograms(tenant: Tenant) -> Sent:
    each = [
        v2.Histogram(
            count_int=count, sum=float(count), schema=3, positive_spans=spans((0, 1)),
            positive_deltas=[count], timestamp=at,
        )
        for at, count in ((EARLIER_MS, 1), (NOW_MS, int(tenant.digits)))
    ]  # fmt: skip
    exemplars = [SentExemplar(NOW_MS, float(tenant.digits), (("trace_id", tenant.mark),))]
    said = SentMetadata(4, f"Help of {tenant.mark}.", tenant.mark)
    return Sent((("__name__", "rpc_seconds"),), (), each, exemplars, said)


def _message(sent: Iterable[Sent]) -> bytes:
    symbols = Symbols()
    series = [series_v2(symbols, one) for one in sent]
    for one in series:
        for sample in one.samples:
            sample.start_timestamp = EARLIER_MS - 1000
    return request(symbols, series)
