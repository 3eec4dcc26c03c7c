"""Pushes to the read port: handed to the write side once, and answered as it answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator

import asyncpg
import cramjam
import pytest

from tests.support.answer import Answer
from tests.support.databases import Database, blocking, connect
from tests.support.keys import bearer, create_key
from tests.support.processes import free_port, wait_until
from tests.support.readapi import Client, running_api
from tests.support.record_ports import Application, Ports, both_ports, squeezed
from tests.support.records_server import RecordsServer, Reply, records_server
from tests.support.remote_write import send
from tests.support.stack import running_stack

ITEM = {"name": "a", "attributes": {"k": "v"}}


@pytest.fixture(scope="module")
def ports(shared_postgres_db: Database) -> Iterator[Ports]:
    with both_ports(shared_postgres_db, PROMGRES_RECEIVER__MAX_BODY_BYTES="100000") as running:
        yield running


@pytest.fixture(scope="module")
def app(ports: Ports) -> Application:
    return ports.tenant("forwarded")


@pytest.fixture(scope="module")
def key(shared_postgres_db: Database, app: Application) -> str:
    return app.key


BODIES = {
    "one": b'{"name":"a"}',
    "array": b'[{"name":"a"},{"name":"b"}]',
    "ndjson": b'{"name":"a"}\n{"name":"b"}\n',
    "batch": b'[{"M":{"name":"m","value":1}},{"E":{"name":"e"}}]',
    "no JSON": b"{",
    "nothing": b"",
    "bad item": b'[{"name":"a"},{"name":""},{"nmae":"x"}]',
    "too long": b'{"name":"' + b"a" * 100_000 + b'"}',
}


class TestAnswers:
    @pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
    def test_those_of_the_write_side(self, app: Application, body: bytes) -> None:
        direct = app.post("write", "event", body)
        forwarded = app.post("read", "event", body)
        assert forwarded.status == direct.status
        if direct.status != 413:  # told here, before it is sent
            assert forwarded.text == direct.text
            assert forwarded.headers["Content-Type"] == direct.headers["Content-Type"]

    def test_they_are_stored_as_they_were_sent(self, ports: Ports) -> None:
        app = ports.tenant("exact")
        for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            body = b'{"name":"x","value":12345678901234567890.5}'
            assert app.post("read", "measure", body, content_type=content_type).status == 201
        rows = app.rows("write", "measure", shape="flat")
        assert [row["value"] for row in rows] == ["12345678901234567890.5"] * 3

    def test_compressed(self, app: Application) -> None:
        """Passed on as it was sent: the write side judges it."""
        zstd = bytes(cramjam.zstd.compress(json.dumps(ITEM).encode()))
        for encoding, body in {"gzip": squeezed(ITEM), "zstd": zstd, "Identity": b"{}"}.items():
            direct, forwarded = (
                app.post(port, "event", body, content_encoding=encoding)
                for port in ("write", "read")
            )
            assert (forwarded.status, forwarded.text) == (direct.status, direct.text)
            assert direct.status == (400 if body == b"{}" else 201)
        for encoding in ("gzip", "zstd", "br", "rot13"):
            for port in ("read", "write"):
                answer = app.post(port, "event", b"x", content_encoding=encoding)
                assert answer.status == (400 if encoding in ("gzip", "zstd") else 415)

    def test_sent_twice_with_one_key_stored_once(self, ports: Ports) -> None:
        app = ports.tenant("twice")
        for port in ("read", "write", "read"):
            item = {**ITEM, "idempotency_key": "k1"}
            assert app.post(port, "event", item).status == 201
        assert len(app.rows("read", "event")) == 1


class TestKeys:
    def test_no_body_is_read_of_who_has_no_key(self, ports: Ports, app: Application) -> None:
        url = f"{ports.urls['read']}/api/v1/event"
        refused = send(url, b"x" * 200_000, bearer("pmk_abcdefghijkl_" + "x" * 43))
        assert refused.status == 401

    def test_a_proxy_in_front_of_the_read_side(self, shared_postgres_db: Database) -> None:
        proxy = {"PROMGRES_AUTH__TRUSTED_PROXIES": '["127.0.0.1/32"]'}
        with both_ports(shared_postgres_db, **proxy) as ports:
            app = ports.tenant("proxied")
            self.names_do_not_travel(ports)
            self.refusals_carry_the_client_s_address(ports, app)

    def names_do_not_travel(self, ports: Ports) -> None:
        """The write side could not know that the name came from a proxy."""
        body, headers = json.dumps(ITEM).encode(), {"X-Scope-OrgID": "proxied"}
        refused = send(f"{ports.urls['read']}/api/v1/event", body, headers)
        assert refused.status == 403
        assert "write side" in refused.text
        assert send(f"{ports.urls['write']}/api/v1/event", body, headers).status == 201
        read = send(f"{ports.urls['read']}/api/v1/event", None, headers, "GET")
        assert len(json.loads(read.text)) == 1

    def refusals_carry_the_client_s_address(self, ports: Ports, app: Application) -> None:
        """And are recorded once: the write side never hears of them."""
        reader = blocking(create_key(ports.database, app.tenant, "read"))
        headers = bearer(reader) | {"X-Forwarded-For": "203.0.113.9"}
        refused = send(f"{ports.urls['read']}/api/v1/event", json.dumps(ITEM).encode(), headers)
        assert refused.status == 403
        assert json.loads(refused.text)["stored"] == 0
        query = "SELECT address::text, times FROM app.audit WHERE key_id = $1 AND action = $2"
        arguments = (reader.split("_")[1], "key_refused")
        wait_until(lambda: blocking(fetch(ports.database, query, *arguments)))
        recorded = blocking(fetch(ports.database, query, *arguments))
        assert [tuple(row) for row in recorded] == [("203.0.113.9", 1)]


async def fetch(database: Database, query: str, *arguments: object) -> list[asyncpg.Record]:
    async with connect(database) as connection:
        rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
    return rows


@pytest.fixture
async def standing_in(shared_postgres_db: Database, key: str) -> AsyncIterator[StandIn]:
    with records_server() as server:
        async with running_api(shared_postgres_db, write_url=server.url) as client:
            yield StandIn(server, client, bearer(key))


class StandIn:
    """A read side before a server that answers as it is told to."""

    def __init__(self, server: RecordsServer, client: Client, headers: dict[str, str]) -> None:
        self.server, self.client, self.headers = server, client, headers

    async def push(self, *script: Reply, **headers: str) -> Answer:
        """Push once, answered by the script."""
        self.server._script[:] = script
        return await self.client.request(
            "POST", "/api/v1/event", json=ITEM, headers=self.headers | headers
        )


class TestThroughIt:
    async def test_status_body_and_retry_after(self, standing_in: StandIn) -> None:
        for status in (200, 201, 204, 302, 400, 404, 413, 429, 500, 503):
            headers = {"Retry-After": "7", "Content-Type": "text/x-own", "Location": "/away"}
            body = "" if status == 204 else f"answer {status}"
            answer = await standing_in.push(Reply(status, body, headers))
            assert (answer.status, answer.text) == (status, body)
            assert answer.headers["Retry-After"] == "7"
            assert answer.headers["Content-Type"] == "text/x-own"
            assert "Location" not in answer.headers
        assert len(standing_in.server.pushes) == 10, "no redirect is followed"

    async def test_headers(self, standing_in: StandIn) -> None:
        sent = {"X-Scope-OrgID": "other", "Cookie": "a=b", "X-Forwarded-For": "1.2.3.4"}
        await standing_in.push(Reply(), **sent)
        (push,) = standing_in.server.pushes
        assert push.path == "/api/v1/event"
        assert push.headers["Authorization"] == standing_in.headers["Authorization"]
        assert push.headers["Content-Type"] == "application/json"
        assert not set(sent) & set(push.headers)

    async def test_never_a_retry_of_our_own(self, standing_in: StandIn) -> None:
        for number, reply in enumerate((Reply(503), Reply(cut=True), Reply(503)), start=1):
            answer = await standing_in.push(reply)
            assert answer.status == 503
            assert "Retry-After" in answer.headers or reply.status == 503
            assert len(standing_in.server.pushes) == number

    async def test_a_client_that_goes_away(self, standing_in: StandIn) -> None:
        """What it sent may be stored; others are answered as before."""
        hold = threading.Event()
        pushing = asyncio.create_task(standing_in.push(Reply(hold=hold)))
        await asyncio.to_thread(standing_in.server.wait_for_pushes, 1)
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        hold.set()
        assert (await standing_in.push(Reply(201))).status == 201


class TestAway:
    async def test_write_side_away(self, shared_postgres_db: Database, key: str) -> None:
        nobody = f"http://127.0.0.1:{free_port()}"
        async with running_api(shared_postgres_db, write_url=nobody) as client:
            await self.refuses(client, key, "The write side does not answer")

    async def test_no_write_side(self, shared_postgres_db: Database, key: str) -> None:
        async with running_api(shared_postgres_db) as client:
            await self.refuses(client, key, "api.write_url")

    async def refuses(self, client: Client, key: str, why: str) -> None:
        """503 to those who may write, reads go on."""
        answer = await client.request("POST", "/api/v1/measure", json=ITEM, headers=bearer(key))
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json["stored"] == 0
        assert why in answer.json["errors"][0]["reason"]
        older = {"X-PMETRICS-API-KEY": key}
        text = await client.request("POST", "/api/v1/measure", json=ITEM, headers=older)
        assert (text.status, text.headers["Content-Type"]) == (503, "text/plain; charset=utf-8")
        stranger = bearer("pmk_abcdefghijkl_" + "x" * 43)
        refused = await client.request("POST", "/api/v1/measure", json=ITEM, headers=stranger)
        assert refused.status == 401
        assert (await client.request("GET", "/api/v1/measure", headers=older)).status == 200


def test_up_tells_its_read_side_where_the_write_side_is() -> None:
    with running_stack() as stack:
        read = stack.read_url.removesuffix("/rpc/")
        pushed = send(f"{read}/api/v1/event", json.dumps(ITEM).encode(), {})
        assert (pushed.status, pushed.text.strip()) == (201, '{"stored":1}')
        rows = json.loads(send(f"{read}/api/v1/event", None, {}, "GET").text)
        assert [row["d"] for row in rows] == [{"name": "a", "dict": {"k": "v"}}]
