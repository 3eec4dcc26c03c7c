"""Keys on the write side: whose samples they are, who is turned away, and how fast that changes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ingest.config import Settings
from ingest.config.settings import AuthSettings
from ingest.doctor.case import Site
from ingest.doctor.finding import Level
from ingest.doctor.sides import check_accounts
from tests.support.answer import Answer
from tests.support.databases import Database, blocking, connect, execute
from tests.support.fragile_postgres import fragile_postgres
from tests.support.keys import basic, bearer, change_key, create_key, create_tenant
from tests.support.messages import HEADERS_V2, payload, series
from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, get, run, wait_until
from tests.support.readapi import token
from tests.support.remote_write import HEADERS, WriteSide, send, snappy, write_side
from tests.support.rig import running_rig
from tests.support.senders import prometheus

NOTICED_SECONDS = 5.0
"""Within so long every daemon refuses a revoked key."""
WRITTEN = "X-Prometheus-Remote-Write-Samples-Written"


@pytest.fixture(scope="module")
def strict(shared_postgres_db: Database) -> Iterator[WriteSide]:
    """A second daemon on the same database: it wants keys, and trusts a proxy on this machine.

    A row of the audit was old before it started.
    """
    old = "INSERT INTO app.audit (at, action) VALUES (now() - interval '366 days', 'of last year')"
    blocking(execute(shared_postgres_db.url, old))
    with write_side(
        shared_postgres_db,
        PROMGRES_AUTH__REQUIRED="true",
        PROMGRES_AUTH__TRUSTED_PROXIES='["127.0.0.0/8"]',
    ) as side:
        yield side


@pytest.fixture(scope="module")
def acme(shared_postgres_db: Database) -> str:
    """A key of tenant `acme`."""
    blocking(create_tenant(shared_postgres_db, "acme"))
    return blocking(create_key(shared_postgres_db, "acme"))


def write(
    side: WriteSide, headers: Mapping[str, str], name: str = "up", value: float = 1, **labels: str
) -> Answer:
    """Send one sample, stamped now."""
    one = series({"name": name, **labels}, (time.time_ns() // 1_000_000, value))
    return send(side.url, snappy(payload(one)), {**HEADERS, **headers})


def fetch(database: Database, query: str, *arguments: object) -> list[Any]:
    """Rows."""

    async def rows() -> list[Any]:
        async with connect(database) as connection:
            return list(await connection.fetch(query, *arguments))

    return blocking(rows())


def tenants_of(database: Database, name: str) -> dict[str, int]:
    """Samples of a metric by tenant."""
    query = """
        SELECT t.name, count(*) FROM internal.sample JOIN internal.series s USING (series_id)
        JOIN app.tenant t USING (tenant_id) WHERE s.name = $1 GROUP BY t.name
    """
    return {row[0]: row[1] for row in fetch(database, query, name)}


def test_a_key_decides_the_tenant(
    shared_write_side: WriteSide, shared_postgres_db: Database, acme: str
) -> None:
    places: list[dict[str, str]] = [
        bearer(acme),
        {"Authorization": f"Basic {basic('prometheus', acme)}"},
        {"X-API-Key": acme},
        {"X-PMETRICS-API-KEY": acme},
    ]
    for number, headers in enumerate(places):
        assert write(shared_write_side, headers, "whose", place=str(number)).status == 204
    assert write(shared_write_side, {}, "whose", place="0").status == 204
    assert tenants_of(shared_postgres_db, "whose") == {"acme": len(places), "default": 1}
    metrics = Metrics(shared_write_side.address)
    assert metrics.samples("written", tenant="acme") >= len(places)
    metrics.assert_balanced()


@pytest.mark.parametrize("headers", [HEADERS, HEADERS_V2], ids=["1.0", "2.0"])
def test_refusals(
    shared_write_side: WriteSide,
    strict: WriteSide,
    shared_postgres_db: Database,
    acme: str,
    headers: dict[str, str],
) -> None:
    reader = blocking(create_key(shared_postgres_db, "acme", "read"))
    wrong = acme[:-4] + ("aaaa" if acme[-4:] != "aaaa" else "bbbb")
    for side, given, status, words in [
        (strict, {}, 401, "an API key is needed"),
        (shared_write_side, bearer(wrong), 401, "no such API key"),
        (shared_write_side, bearer("pmk_000000000000_" + acme[-43:]), 401, "no such API key"),
        (shared_write_side, {"X-API-Key": "a-wiWimWyilf"}, 401, "not an API key"),
        (shared_write_side, bearer(token(tenant="acme")), 401, "tokens are for the read side"),
        (shared_write_side, {**bearer(acme), "X-API-Key": reader}, 401, "several keys"),
        (shared_write_side, {"Authorization": f"Digest {acme}"}, 401, "Bearer"),
        (shared_write_side, bearer(reader), 403, "scope write"),
    ]:
        answer = send(side.url, b"not even snappy", {**headers, **given})
        assert (answer.status, words in answer.text) == (status, True), (given, answer)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert (WRITTEN in answer.headers) == (headers is HEADERS_V2)
        assert answer.headers.get(WRITTEN, "0") == "0"
        assert not [key for key in (acme, wrong, reader) if key[-20:] in answer.text]


def test_a_refusal_does_not_wait_for_the_body(shared_write_side: WriteSide) -> None:
    host, _, port = shared_write_side.address.rpartition(":")
    head = ["POST /api/v1/write HTTP/1.1", f"Host: {host}", "Content-Length: 1000000"]
    lines = [*head, *(f"{name}: {value}" for name, value in HEADERS.items()), "X-API-Key: bad"]
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_a_trusted_proxy_names_the_tenant(
    shared_write_side: WriteSide, strict: WriteSide, shared_postgres_db: Database, acme: str
) -> None:
    org = {"X-Scope-OrgID": "acme"}
    assert write(strict, org, "proxied").status == 204
    assert write(strict, {"X-Scope-OrgID": "nobody"}, "proxied").status == 401
    for number in range(2):
        assert write(shared_write_side, org, "proxied", place=str(number)).status == 204
    assert tenants_of(shared_postgres_db, "proxied") == {"acme": 1, "default": 2}
    warning = "X-Scope-OrgID is ignored"
    shared_write_side.program.wait_for(warning)
    assert shared_write_side.program.output.count(warning) == 1
    assert warning not in strict.program.output


def test_a_key_that_was_made_a_moment_ago_works_at_once(
    shared_write_side: WriteSide, strict: WriteSide, shared_postgres_db: Database
) -> None:
    blocking(create_tenant(shared_postgres_db, "fresh"))
    key = blocking(create_key(shared_postgres_db, "fresh", "write"))
    assert write(strict, bearer(key), "fresh").status == 204
    assert write(shared_write_side, bearer(key), "fresh", place="b").status == 204
    assert tenants_of(shared_postgres_db, "fresh") == {"fresh": 2}


def test_a_revocation_is_noticed_by_every_daemon(
    shared_write_side: WriteSide, strict: WriteSide, shared_postgres_db: Database, acme: str
) -> None:
    key = blocking(create_key(shared_postgres_db, "acme"))
    sides = [shared_write_side, strict]
    assert [write(side, bearer(key), "revoked").status for side in sides] == [204, 204]
    assert blocking(change_key(shared_postgres_db, "SELECT app.revoke_key($1)", key))
    for side in sides:
        wait_until(
            lambda side=side: write(side, bearer(key), "revoked").status == 401,
            NOTICED_SECONDS,
            "the revoked key is refused",
        )
    assert "revoked" in write(strict, bearer(key)).text
    assert write(strict, bearer(acme), "revoked").status == 204


def test_an_expired_key_is_refused(
    shared_write_side: WriteSide, shared_postgres_db: Database, acme: str
) -> None:
    key = blocking(create_key(shared_postgres_db, "acme"))
    assert write(shared_write_side, bearer(key), "expired").status == 204
    soon = "SELECT app.expire_key($1, clock_timestamp() + interval '0.3 seconds')"
    blocking(change_key(shared_postgres_db, soon, key))
    wait_until(lambda: write(shared_write_side, bearer(key), "expired").status == 401)
    assert "expired" in write(shared_write_side, bearer(key)).text


def test_a_rotation_drops_no_request(
    shared_write_side: WriteSide, strict: WriteSide, shared_postgres_db: Database, acme: str
) -> None:
    key = blocking(create_key(shared_postgres_db, "acme"))
    stream = Stream(strict, key)
    with stream:
        for _ in range(3):
            stream.wait_for_more(20)
            stream.key = blocking(
                change_key(shared_postgres_db, "SELECT key FROM app.rotate_key($1)", stream.key)
            )
        stream.wait_for_more(20)
    assert set(stream.statuses) == {204}
    assert write(shared_write_side, bearer(key), "rotated").status == 204  # for a day


class Stream:
    """A sender that never pauses, with the key that it is given."""

    def __init__(self, side: WriteSide, key: str) -> None:
        self.key = key
        self.statuses: list[int] = []
        self._side = side
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def wait_for_more(self, requests: int) -> None:
        """Until so many more were answered."""
        goal = len(self.statuses) + requests
        wait_until(lambda: len(self.statuses) >= goal)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            answer = write(self._side, bearer(self.key), "stream")
            self.statuses.append(answer.status)


def test_refusals_are_recorded_without_the_secret(
    strict: WriteSide, shared_write_side: WriteSide, shared_postgres_db: Database, acme: str
) -> None:
    reader = blocking(create_key(shared_postgres_db, "acme", "read"))
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    for _ in range(3):
        assert write(strict, {**bearer(reader), **forwarded}).status == 403
    write(strict, {**bearer(reader[:-4] + "zzzz"), **forwarded})
    write(strict, {"X-API-Key": f"my key is {reader}", **forwarded})
    query = """
        SELECT action, t.name, key_id, details->>'reason' AS reason
        FROM app.audit LEFT JOIN app.tenant t USING (tenant_id)
        WHERE address = '203.0.113.9' GROUP BY 1, 2, 3, 4
    """
    expected = {
        ("key_refused", "acme", reader.split("_")[1], "scope"),
        ("key_refused", None, reader.split("_")[1], "unknown"),
        ("key_refused", None, None, "malformed"),
    }
    wait_until(lambda: set(map(tuple, fetch(shared_postgres_db, query))) == expected)
    ((everything,),) = fetch(shared_postgres_db, "SELECT json_agg(a)::text FROM app.audit a")
    logs = strict.program.output + shared_write_side.program.output
    for key in (acme, reader):
        assert key[-43:] not in everything + logs
    metrics = Metrics(strict.address)
    assert metrics.value("promgres_keys_refused_total", reason="scope") >= 3


def test_old_rows_of_the_audit_go(strict: WriteSide, shared_postgres_db: Database) -> None:
    query = "SELECT FROM app.audit WHERE action = 'of last year'"
    wait_until(lambda: not fetch(shared_postgres_db, query))


def test_the_use_of_a_key_is_noted(
    shared_write_side: WriteSide, shared_postgres_db: Database, acme: str
) -> None:
    key = blocking(create_key(shared_postgres_db, "acme"))
    query = "SELECT last_used_at FROM app.api_key WHERE key_id = $1"
    ((before,),) = fetch(shared_postgres_db, query, key.split("_")[1])
    assert before is None
    assert write(shared_write_side, bearer(key), "noted").status == 204
    wait_until(lambda: fetch(shared_postgres_db, query, key.split("_")[1])[0][0])


def test_metrics_show_a_tenant_its_own(
    strict: WriteSide, shared_write_side: WriteSide, shared_postgres_db: Database, acme: str
) -> None:
    chief = blocking(create_key(shared_postgres_db, "default", "admin"))
    local_chief = blocking(create_key(shared_postgres_db, "acme", "admin"))
    blocking(create_tenant(shared_postgres_db, "globex"))
    globex = blocking(create_key(shared_postgres_db, "globex"))
    for side in (strict, shared_write_side):
        for key in (chief, acme, globex):
            assert write(side, bearer(key), "scraped").status == 204

    def shown(side: WriteSide, headers: Mapping[str, str]) -> set[str]:
        answer = send(f"http://{side.address}/metrics", None, headers, "GET")
        assert answer.status == 200
        assert "promgres_write_requests_total{" in answer.text
        return {name for name in ("default", "acme", "globex") if f'"{name}"' in answer.text}

    everybody = {"default", "acme", "globex"}
    for side in (strict, shared_write_side):
        assert shown(side, bearer(chief)) == everybody
        assert shown(side, bearer(acme)) == shown(side, bearer(local_chief)) == {"acme"}
        assert shown(side, bearer(globex)) == {"globex"}
    assert shown(shared_write_side, {}) == everybody
    assert shown(strict, {}) == set()
    bad = send(f"http://{strict.address}/metrics", None, {"X-API-Key": "bad"}, "GET")
    assert bad.status == 401


def test_probes_need_no_key(strict: WriteSide) -> None:
    paths = {"/healthz": "ok", "/-/healthy": "ok\n", "/-/ready": "ready\n"}
    for path, text in paths.items():
        assert get(f"http://{strict.address}{path}") == (200, text)
    assert get(f"{strict.url}?get_vm_proto_version=1") == (200, "1")


def test_a_real_prometheus_with_a_key(
    strict: WriteSide, shared_postgres_db: Database, acme: str, tmp_path: Path
) -> None:
    password = {"basic_auth": {"username": "prometheus", "password": acme}}
    with prometheus(tmp_path, strict.url, {}, remote_write=password) as sender:
        wait_until(lambda: tenants_of(shared_postgres_db, "scrape_duration_seconds"))
        sender.stop_scraping()
        assert sender.complaints() == []
    assert set(tenants_of(shared_postgres_db, "scrape_duration_seconds")) == {"acme"}


def test_the_synthetic_sender_takes_a_key(strict: WriteSide, acme: str) -> None:
    options = ("--url", strict.url, "--json", "--series", "5", "--duration", "0.1")
    for key, status in ((acme, "204"), ("", "401")):
        sent = run(PROMGRES, "load", *options, env={"PROMGRES_KEY": key}, seconds=30)
        assert json.loads(sent.stdout)["statuses"].keys() == {status}
    wrong = run(PROMGRES, "load", *options, "--key", f"{acme} ", seconds=30)
    assert "visible ASCII" in wrong.stderr
    assert acme[-20:] not in wrong.stderr


def test_the_doctor_needs_the_operators_key_to_look_at_accounts(
    strict: WriteSide, acme: str, shared_postgres_db: Database
) -> None:
    assert write(strict, bearer(acme)).status == 204
    settings = Settings(listen=strict.address, auth=AuthSettings(required=True))
    operators = blocking(create_key(shared_postgres_db, "default", "admin"))
    for key, level, what in (
        (None, Level.WARNING, "cannot be looked at: tenants are shown to the operator only"),
        (operators[:-4] + "zzzz", Level.WARNING, "cannot be looked at: the key is refused"),
        (operators, Level.OK, "add up: "),
    ):
        (found,) = check_accounts(Site(settings=settings, key=key))
        assert found.level == level
        assert found.what.startswith(what)


def test_known_keys_work_while_the_database_is_away() -> None:
    with fragile_postgres() as postgres, running_rig(postgres) as rig:
        side = WriteSide(rig.program, rig.address)  # type: ignore[arg-type]
        blocking(create_tenant(rig.database, "acme"))
        key = blocking(create_key(rig.database, "acme"))
        stranger = key[:-4] + "zzzz"
        assert write(side, bearer(key), "before").status == 204
        postgres.stop()
        assert write(side, bearer(key), "away").status == 204
        refused = write(side, bearer(stranger), "away")
        assert (refused.status, "Retry-After" in refused.headers) == (503, True)
        assert write(side, {"X-API-Key": "no key at all"}).status == 401
        assert rig.metrics.value("promgres_samples_spooled", tenant="acme") == 1
        postgres.start()
        rig.wait_until_drained()
        wait_until(lambda: rig.metrics.value("promgres_samples_spooled", tenant="acme") == 0)
        assert tenants_of(rig.database, "away") == {"acme": 1}
        wait_until(lambda: write(side, bearer(stranger)).status == 401)
        lines = [json.loads(line) for line in rig.output.splitlines() if line.startswith("{")]
        assert sum("keys cannot be read" in line["event"] for line in lines) == 1
