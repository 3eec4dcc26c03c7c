"""Limits of one tenant, on a real daemon beside another tenant, who must not notice."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

from tests.support.answer import Answer
from tests.support.databases import Database, connect, execute
from tests.support.keys import bearer, create_key, create_tenant
from tests.support.messages import payload, series
from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, run, wait_until
from tests.support.remote_write import HEADERS, WriteSide, send, snappy, write_side

NOW_MS = time.time_ns() // 1_000_000
STORED = """
    SELECT count(*) FROM internal.sample JOIN internal.series USING (series_id)
    WHERE tenant_id = $1
"""
NOBODY_JUDGED_THIS = """
CREATE FUNCTION internal.breaks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'nobody has judged this error' USING ERRCODE = 'XX001';
END $$;
CREATE TRIGGER breaks BEFORE INSERT ON internal.hot
FOR EACH ROW EXECUTE FUNCTION internal.breaks();
"""


class Sender:
    """Somebody with a key of a tenant."""

    def __init__(self, database: Database, name: str, tenant_id: int) -> None:
        self.name, self.tenant_id, self.key = name, tenant_id, ""
        self._database = database

    def body(self, *numbers: int, at_ms: int = 0) -> bytes:
        """A request of one sample of each of these series."""
        sample = (NOW_MS + at_ms, 1.0)
        return snappy(payload(*(series({"name": "m", "n": f"{n:06}"}, sample) for n in numbers)))

    def write(self, side: WriteSide, *numbers: int, at_ms: int = 0) -> Answer:
        """Send it."""
        return send(side.url, self.body(*numbers, at_ms=at_ms), HEADERS | bearer(self.key))

    def measure(self, side: WriteSide, count: int = 1, **headers: str) -> Answer:
        """Push so many measures."""
        items = json.dumps([{"name": "m", "value": number} for number in range(count)])
        url = f"http://{side.address}/api/v1/measure"
        return send(url, items.encode(), headers or bearer(self.key))

    async def limit(self, **limits: float) -> None:
        """Give the tenant limits of its own; the daemon learns of them within seconds."""
        async with connect(self._database) as connection:
            text = json.dumps(limits)
            await connection.execute("SELECT app.set_tenant_limits($1, $2)", self.name, text)

    async def stored(self) -> int:
        """Samples of the tenant in the database."""
        async with connect(self._database) as connection:
            count: int = await connection.fetchval(STORED, self.tenant_id)
        return count

    def refusals(self, side: WriteSide, limit: str) -> float:
        """What was refused because of a limit."""
        name = "promgres_tenant_limit_refusals_total"
        return Metrics(side.address).value(name, tenant=self.name, limit=limit)


async def sender(database: Database, tenant: str, **limits: float) -> Sender:
    """A new tenant with a key. The daemon reads its limits when it meets the key."""
    made = Sender(database, tenant, await create_tenant(database, tenant))
    await made.limit(**limits)
    made.key = await create_key(database, tenant)
    return made


async def test_a_rate(shared_postgres_db: Database, shared_write_side: WriteSide) -> None:
    """One request of any size passes and is paid for; nothing of a refused one is counted."""
    side = shared_write_side
    fast = await sender(shared_postgres_db, "fast", items_per_second=1)
    other = await sender(shared_postgres_db, "other")
    assert fast.write(side, *range(5000)).status == 204
    answer = fast.write(side, *range(10), at_ms=1)
    assert answer.status == 503
    assert answer.text == (
        "more than 1 samples, measures and events a second (limits.items_per_second)\n"
    )
    assert 4000 < int(answer.headers["Retry-After"]) < 5000
    assert begin_a_request(side, fast).startswith(b"HTTP/1.1 503"), "before its body is read"
    answer = fast.measure(side)
    assert (answer.status, 4000 < int(answer.headers["Retry-After"]) < 5000) == (429, True)
    assert fast.measure(side, **{"X-PMETRICS-API-KEY": fast.key}).status == 429
    for at_ms in range(5):
        assert other.write(side, *range(10), at_ms=at_ms).status == 204
    assert [await fast.stored(), await other.stored()] == [5000, 50]
    metrics = Metrics(side.address)
    assert metrics.samples("received", "fast") == metrics.samples("written", "fast") == 5000
    assert fast.refusals(side, "items_per_second") == 4
    assert other.refusals(side, "items_per_second") == 0
    await fast.limit(items_per_second=0)
    wait_until(
        lambda: fast.write(side, *range(10), at_ms=1).status == 204, what="the limit is gone"
    )
    assert await fast.stored() == 5010


def begin_a_request(side: WriteSide, tenant: Sender) -> bytes:
    """Promise a body and send none; what the server says."""
    headers = HEADERS | bearer(tenant.key) | {"Host": side.address, "Content-Length": "1000"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    host, port = side.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"POST /api/v1/write HTTP/1.1\r\n{head}\r\n".encode())
        return connection.recv(100)


async def test_a_rate_of_measures(
    shared_postgres_db: Database, shared_write_side: WriteSide
) -> None:
    """They are paid for from the same purse as samples."""
    side = shared_write_side
    till = await sender(shared_postgres_db, "till", items_per_second=1)
    assert till.measure(side, count=1000).status == 201
    assert [till.measure(side).status, till.write(side, 0).status] == [429, 503]
    metrics = Metrics(side.address)
    assert metrics.samples("received", "till") == metrics.samples("written", "till") == 1000


async def test_series_in_all(shared_postgres_db: Database, shared_write_side: WriteSide) -> None:
    """Those beyond get 400, the rest of the request is stored; known ones never notice."""
    side = shared_write_side
    small = await sender(shared_postgres_db, "small", series=3)
    large = await sender(shared_postgres_db, "large")
    answer = small.write(side, *range(5))
    assert answer.status == 400
    assert answer.text.splitlines() == [
        "2 of 5 samples refused, the others are stored:",
        'm{n="000003"}: a new series, of which 3 are taken in all (limits.series)',
        'm{n="000004"}: a new series, of which 3 are taken in all (limits.series)',
    ]
    assert small.write(side, 0, 1, 2, at_ms=1).status == 204
    assert large.write(side, *range(5)).status == 204
    assert [await small.stored(), await large.stored()] == [6, 5]
    assert small.refusals(side, "series") == 2
    for tenant in (small, large):
        Metrics(side.address).assert_balanced(tenant.name)
    with write_side(shared_postgres_db) as again:
        assert small.write(again, 0, 4, at_ms=2).status == 400, "a restart forgets nothing"
        await small.limit(series=4)
        wait_until(lambda: small.write(again, 4, at_ms=2).status == 204, what="the limit is raised")
        assert small.write(again, 5, at_ms=2).status == 400
    assert await small.stored() == 8


async def test_a_share_of_the_spool(shared_postgres_db: Database, open_path: Path) -> None:
    """A tenant that has filled its share is sent away while the others' requests are kept; the
    next daemon finds the shares as they were, and all that is in them is written in the end."""
    small = await sender(shared_postgres_db, "a quarter", spool_share=0.25)
    large = await sender(shared_postgres_db, "all of it")
    spool = {
        "PROMGRES_SPOOL__MAX_BYTES": str(22 * len(small.body(*range(10)))),
        "PROMGRES_DATA_DIR": str(open_path),
    }
    await execute(shared_postgres_db.url, NOBODY_JUDGED_THIS)
    with write_side(shared_postgres_db, **spool) as side:
        statuses = [small.write(side, *range(10), at_ms=n).status for n in range(8)]
        assert statuses == [204] * 5 + [503] * 3
        assert "share of the spool" in small.write(side, *range(10)).text
        answer = small.measure(side, count=10)
        assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (429, True)
        assert [large.write(side, *range(10), at_ms=n).status for n in range(8)] == [204] * 8
        assert small.refusals(side, "spool_share") == 5
        assert Metrics(side.address).samples("unavailable", small.name) == 50
        before = assert_shares(side, open_path, small, large)
    with write_side(shared_postgres_db, **spool) as side:
        assert assert_shares(side, open_path, small, large) == before
        assert small.write(side, *range(10), at_ms=9).status == 503
        await execute(shared_postgres_db.url, "DROP TRIGGER breaks ON internal.hot")
        wait_until(lambda: Metrics(side.address).at_rest, what="the spool is empty")
        assert small.write(side, *range(10), at_ms=9).status == 204
        for tenant in (small, large):
            Metrics(side.address).assert_balanced(tenant.name)
    assert [await small.stored(), await large.stored()] == [60, 80]


def assert_shares(side: WriteSide, data_dir: Path, *tenants: Sender) -> list[float]:
    """What each holds, as the metrics and `promgres spool status` say alike."""
    metrics = Metrics(side.address)
    held = [metrics.value("promgres_spool_tenant_bytes", tenant=one.name) for one in tenants]
    status = run(PROMGRES, "spool", "status", "--json", "--data-dir", str(data_dir))
    said = {each["tenant_id"]: each for each in json.loads(status.stdout)["tenants"]}
    assert [said[one.tenant_id]["bytes"] for one in tenants] == held
    assert [said[one.tenant_id]["requests"] for one in tenants] == [5, 8]
    return held
